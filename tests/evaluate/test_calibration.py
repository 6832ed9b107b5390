"""Calibration of label probabilities against other people's code and against data whose temperature is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from lore_lab.evaluate.calibration import fit_temperature, nll, tempered
from lore_lab.evaluate.metrics import calibration_error, summarise


def drawn(logits: np.ndarray, seed: int) -> np.ndarray:
    """A label for each row, drawn from softmax(logits)."""
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(logits.shape[1], p=row) for row in softmax(logits, axis=1)])


def test_nll_is_scikit_learns_log_loss() -> None:
    rng = np.random.default_rng(0)
    probabilities, gold = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    assert nll(gold, probabilities).mean() == pytest.approx(log_loss(gold, probabilities, labels=range(4)))
    assert np.isfinite(nll(np.array([0]), np.array([[0.0, 1.0]]))).all(), "a certain mistake costs much, not everything"


def test_the_calibration_error_is_that_of_a_loop_over_bins() -> None:
    rng = np.random.default_rng(1)
    probabilities, gold = rng.dirichlet(np.full(4, 0.5), 300), rng.integers(0, 4, 300)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == gold
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & (confidence < low + 0.1 + (low == 0.9))
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(gold, probabilities) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_another_temperature_is_the_softmax_of_divided_logits(temperature: float) -> None:
    logits = np.random.default_rng(2).normal(size=(20, 4))
    np.testing.assert_allclose(tempered(softmax(logits, axis=1), temperature), softmax(logits / temperature, axis=1), atol=1e-12)
    assert tempered(np.empty((0, 4)), temperature).shape == (0, 4)


@pytest.mark.parametrize("overconfident", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_is_the_one_that_was_put_in_and_mends_the_calibration(overconfident: float) -> None:
    logits = np.random.default_rng(3).normal(scale=1.5, size=(8000, 4))
    gold, said = drawn(logits, 4), softmax(logits * overconfident, axis=1)
    temperature = fit_temperature(gold, said)
    assert temperature == pytest.approx(overconfident, rel=0.06)
    mended = tempered(said, temperature)
    assert (mended.argmax(axis=1) == said.argmax(axis=1)).all()
    assert calibration_error(gold, mended) < 0.02
    if overconfident != 1:
        assert calibration_error(gold, said) > 0.1


def table() -> pd.DataFrame:
    logits = np.random.default_rng(5).normal(scale=1.5, size=(400, 4))
    gold, said = drawn(logits, 6), softmax(3 * logits, axis=1)
    shared = {"example_id": [f"g-{n}" for n in range(400)], "subset": "general", "frequency": "head", "mode": "greedy", "sample": 0}
    rows = pd.DataFrame(shared | {"gold": gold, "predicted": said.argmax(axis=1), "scored": True})
    columns = {f"probability/{k + 1}": said[:, k] for k in range(4)} | {f"calibrated/{k + 1}": tempered(said, 3)[:, k] for k in range(4)}
    return rows.assign(**columns)


def test_a_summary_says_what_probabilities_are_worth_before_and_after() -> None:
    rows = table()
    found = summarise(rows, 4, 2, 100, 0)
    for group in ("", "general/", "head/"):
        assert found[f"{group}ece"] > 0.1 > 0.08 > found[f"{group}ece_calibrated"]
        assert found[f"{group}nll"] > found[f"{group}nll_calibrated"]
        assert found[f"{group}brier"] > found[f"{group}brier_calibrated"]
        assert found[f"{group}nll/low"] < found[f"{group}nll"] < found[f"{group}nll/high"]
    raw = summarise(rows.drop(columns=[f"calibrated/{k}" for k in range(1, 5)]), 4, 2, 100, 0)
    assert not any("calibrated" in name for name in raw)
    assert raw["nll"] == found["nll"]

"""The distilled ranker: learns probabilities, not only labels; what is loaded is what was saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lore_lab.data.example import Example
from lore_lab.deploy.ranker import Ranker, fit

COLOURS = ("red", "blue", "green", "black")


def pair(asked: str, shown: str) -> Example:
    return Example("a", "q", "i", f"{asked} dress", {"title": f"{shown} dress"}, 0, 0, 0.0)


PAIRS = [pair(asked, shown) for asked in COLOURS for shown in COLOURS] * 10
SURE, UNSURE = np.array([0.05, 0.05, 0.1, 0.8]), np.array([0.6, 0.3, 0.05, 0.05])
TARGETS = np.array([SURE if own.query.split()[0] == own.item["title"].split()[0] else UNSURE for own in PAIRS])


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return fit(PAIRS, TARGETS, ["title"], [], bits=12, penalty=1e-5)


def test_it_comes_to_the_probabilities_it_was_taught(ranker: Ranker) -> None:
    found = ranker.probabilities([pair("red", "red"), pair("red", "blue")])
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert found[0] == pytest.approx(SURE, abs=0.03)
    assert found[1] == pytest.approx(UNSURE, abs=0.03)


def test_it_is_the_minimum_of_the_cross_entropy_to_the_soft_targets() -> None:
    """Against plain gradient descent on the same penalised loss, written down anew: two features, so that it is convex and quick."""
    from lore_lab.deploy.ranker import hashed

    pairs, targets = PAIRS[:16], TARGETS[:16]
    found = fit(pairs, targets, ["title"], [], bits=4, penalty=0.1)
    x = hashed(pairs, ["title"], [], 16).toarray()
    weights, bias = np.zeros((16, 4)), np.zeros(4)
    for _ in range(4_000):
        logits = x @ weights + bias
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        gap = (share / share.sum(axis=1, keepdims=True) - targets) / len(x)
        weights -= 0.1 * (x.T @ gap + 0.1 * weights)
        bias -= 0.1 * gap.sum(axis=0)
    logits = x @ weights + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.probabilities(pairs) == pytest.approx(expected, abs=5e-3)


def test_two_grades_work_as_well() -> None:
    targets = TARGETS[:, [0, 3]] / TARGETS[:, [0, 3]].sum(axis=1, keepdims=True)
    found = fit(PAIRS, targets, ["title"], [], bits=12, penalty=1e-5).probabilities([pair("red", "red"), pair("red", "blue")])
    assert found[:, 1] == pytest.approx([0.8 / 0.85, 0.05 / 0.65], abs=0.03)


def test_what_is_loaded_answers_as_what_was_saved(ranker: Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    loaded = Ranker.load(tmp_path)
    assert np.array_equal(loaded.probabilities(PAIRS), ranker.probabilities(PAIRS))
    assert (loaded.fields, loaded.query_fields) == (("title",), ())


def test_a_ranker_of_another_form_is_refused(ranker: Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    description = json.loads((tmp_path / "ranker.json").read_text())
    (tmp_path / "ranker.json").write_text(json.dumps(description | {"form": "lore_lab ranker 0"}))
    with pytest.raises(ValueError, match="distil the ranker again"):
        Ranker.load(tmp_path)


def test_without_a_pair_there_is_no_ranker() -> None:
    with pytest.raises(ValueError, match="no valid answer"):
        fit([], np.zeros((0, 4)), ["title"], [], 8, 0.1)

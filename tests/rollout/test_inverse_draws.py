"""Draws by inversion against the distribution they are to have, and through generate."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import set_seed

from lore_lab.rollout.engine import Sampling, TransformersEngine
from tests.train.lab import make


@pytest.fixture
def draws() -> Iterator[Any]:
    """The module, installed for the test."""
    own = torch.multinomial
    yield importlib.reload(importlib.import_module("lore_lab.rollout.inverse_draws"))
    torch.multinomial = own


def test_draws_have_the_distribution_of_their_weights(draws: Any) -> None:
    torch.manual_seed(0)
    weights = torch.tensor([0.0, 3.0, 0.5, 0.0, 1.5, 5.0, 0.0])
    drawn = torch.multinomial(weights.expand(40_000, -1), num_samples=1)
    assert drawn.shape == (40_000, 1)
    counts = drawn.flatten().bincount(minlength=7)
    assert counts[weights == 0].sum() == 0
    likely = weights > 0
    assert chisquare(counts[likely], (weights[likely] / weights.sum() * 40_000).numpy()).pvalue > 1e-3


def test_the_ends_of_the_range_draw_tokens_that_can_be_drawn(draws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.tensor([[0.0, 0.1, 0.0, 0.7, 0.0]])
    for uniform, token in ((0.0, 1), (1 - 2**-53, 3)):
        monkeypatch.setattr(torch, "rand", lambda *_, uniform=uniform, **__: torch.tensor([[uniform]], dtype=torch.float64))
        assert torch.multinomial(weights, 1).tolist() == [[token]]


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [float("nan"), 1.0], [float("inf"), 1.0], [0.0, 0.0]])
def test_what_is_no_distribution_is_refused(draws: Any, weights: list[float]) -> None:
    with pytest.raises(RuntimeError):
        torch.multinomial(torch.tensor([weights]), 1)


def test_anything_but_one_draw_a_row_is_torchs_own(draws: Any) -> None:
    weights = torch.tensor([[0.2, 0.3, 0.5]])
    found = []
    for multinomial in (torch.multinomial, draws._exponential):
        torch.manual_seed(1)
        found.append([multinomial(weights, 2).tolist(), multinomial(weights[0], 5, replacement=True).tolist()])
    assert found[0] == found[1]


def test_a_policy_samples_as_before_and_repeats_with_the_seed(tmp_path: Path, draws: Any) -> None:
    """The first token of many completions: the same distribution by both ways, and greedy completions are untouched."""
    model = make(tmp_path).model
    prompts = [[20, 21]] * 4000
    engine = TransformersEngine(model, 0, (299,))
    counts = []
    for multinomial in (draws._exponential, draws.inverse):
        torch.multinomial = multinomial
        set_seed(5)
        first = engine.generate(prompts, Sampling(1.0, 1))
        set_seed(5)
        assert engine.generate(prompts, Sampling(1.0, 1)) == first
        counts.append(torch.tensor(first).flatten().bincount(minlength=300).double())
    both = counts[0] + counts[1]
    seen = both > 0
    statistic = float(((counts[0] - counts[1])[seen] ** 2 / both[seen]).sum())
    freedom = int(seen.sum()) - 1
    assert abs(statistic - freedom) < 4 * (2 * freedom) ** 0.5, "the two ways sample from different distributions"

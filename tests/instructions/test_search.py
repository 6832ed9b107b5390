"""The search accepts what is better than the noise, scores nothing twice, keeps to its budget, and repeats with its seed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from lore_lab.evaluate.metrics import INVALID
from lore_lab.instructions.operators import Lines
from lore_lab.instructions.search import SCORES, Answers, compare, error_of_difference, evolve

PAIRS = 80


def answers(log_likelihood: np.ndarray, predicted: np.ndarray | None = None) -> Answers:
    label = np.arange(PAIRS) % 4
    return Answers(label, label if predicted is None else predicted, log_likelihood, 4)


def noise(seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=PAIRS)


def test_the_error_of_a_log_likelihood_is_that_of_a_paired_mean() -> None:
    before, after = answers(noise(0)), answers(noise(1))
    expected = stats.sem(after.log_likelihood - before.log_likelihood)
    assert error_of_difference("log_likelihood", before, after, 0) == pytest.approx(expected)
    shared = answers(before.log_likelihood + 0.3)
    assert compare("log_likelihood", 1.0, before, shared, 0) == (pytest.approx(0.3), pytest.approx(0, abs=1e-12), True)


def test_the_error_of_a_macro_f1_is_that_of_scikit_learns_over_bootstraps() -> None:
    rng = np.random.default_rng(2)
    label = np.arange(PAIRS) % 4
    one = np.where(rng.random(PAIRS) < 0.6, label, rng.integers(0, 4, PAIRS))
    two = np.where(rng.random(PAIRS) < 0.7, label, INVALID)
    before, after = answers(noise(0), one), answers(noise(0), two)
    assert SCORES["macro_f1"](after) == pytest.approx(f1_score(label, two, labels=range(4), average="macro", zero_division=0))
    draws = rng.integers(PAIRS, size=(200, PAIRS))
    f1 = [[f1_score(label[d], own[d], labels=range(4), average="macro", zero_division=0) for d in draws] for own in (one, two)]
    expected = float(np.subtract(f1[1], f1[0]).std(ddof=1))
    assert error_of_difference("macro_f1", before, after, 5) == pytest.approx(expected, rel=0.25)
    assert error_of_difference("macro_f1", before, before, 5) == 0
    assert compare("macro_f1", 0.0, before, before, 5)[2] is False, "no change is no improvement"


def count_up(lines: Lines, generator: random.Random) -> tuple[str, Lines] | None:
    """Adds 0 to 39 to the number that the text is."""
    return "add", (str(int(lines[0]) + generator.randrange(40)),)


def search(judge: object, margin: float = 1.0, candidates: int = 12, limit: int = 10**6, seed: int = 0) -> tuple[Lines, list]:
    return evolve(("0",), count_up, judge, lambda lines: int(lines[0]) <= limit, "log_likelihood", margin, candidates, seed)  # type: ignore[arg-type]


def test_true_improvements_are_climbed_within_the_budget() -> None:
    asked: list[Lines] = []

    def judge(lines: Lines) -> Answers:
        asked.append(lines)
        return answers(noise(int(lines[0]), 0.1) + int(lines[0]))

    best, trials = search(judge)
    assert len(trials) == 12
    assert len(asked) == len(set(asked)) == 13, "the written text and every candidate once"
    assert all(trial.accepted for trial in trials)
    assert best == trials[-1].lines
    assert [trial.number for trial in trials] == list(range(1, 13))
    assert trials[0].difference == pytest.approx(trials[0].score - answers(noise(0, 0.1)).log_likelihood.mean())


def test_worse_texts_are_scored_and_left() -> None:
    best, trials = search(lambda lines: answers(noise(int(lines[0]), 0.1) - int(lines[0])), candidates=3)
    assert best == ("0",)
    assert [trial.accepted for trial in trials] == [False] * 3


def test_a_margin_keeps_luck_out() -> None:
    """Texts that change nothing but the noise: without a margin about half of the first candidates pass, with 2 hardly any."""
    lucky = dict.fromkeys((0.0, 2.0), 0)
    for margin in lucky:
        for seed in range(60):
            _, trials = search(lambda lines, seed=seed: answers(noise(1000 * seed + int(lines[0]))), margin, candidates=1, seed=seed)
            lucky[margin] += trials[0].accepted
    assert 15 < lucky[0.0] < 45
    assert lucky[2.0] <= 6


def test_the_search_ends_where_no_new_text_fits() -> None:
    best, trials = search(lambda lines: answers(noise(0) + int(lines[0])), limit=5, candidates=50)
    assert best == ("5",)
    assert 1 <= len(trials) <= 5


def test_the_same_seed_tries_the_same_texts() -> None:
    runs = [[trial.lines for trial in search(lambda lines: answers(noise(int(lines[0]))), seed=seed)[1]] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]

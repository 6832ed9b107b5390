"""The search: from the written text, one mutation after the other, each kept only if it is better by more than the noise of the sample.

    accepted iff d > margin x se(d),   d = score(candidate) - score(best so far) on the same pairs

se is paired: log-likelihood, the standard error of the mean difference a pair; macro-F1, the standard deviation of the difference over bootstraps of
the pairs. With margin 1 about one candidate in six that changes nothing would be accepted by luck, and the best of many more so: therefore the last
text must beat the written one, by the same rule, on pairs that the search never saw, or the written text stays.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lore_lab.evaluate.metrics import confusion, from_confusion
from lore_lab.instructions.operators import Lines, Mutate

_DRAWS = 100  #: mutations drawn for one candidate that is new and fits, before the search gives up
_RESAMPLES = 200  #: bootstraps of a difference in macro-F1


@dataclass(frozen=True)
class Answers:
    """A policy's answers on the sample under one text. All (n,): observed labels, greedy labels (-1 invalid), log-probability of the label."""

    label: np.ndarray
    predicted: np.ndarray
    log_likelihood: np.ndarray
    grades: int


@dataclass(frozen=True)
class Trial:
    """A candidate that was scored. difference and error: to the best text before it."""

    number: int
    mutation: str
    lines: Lines
    score: float
    difference: float
    error: float
    accepted: bool


Judge = Callable[[Lines], Answers]
Score = Callable[[Answers], float]


def log_likelihood(answers: Answers) -> float:
    return float(answers.log_likelihood.mean())


def macro_f1(answers: Answers) -> float:
    return float(from_confusion(confusion(answers.label, answers.predicted, answers.grades), 1)["macro_f1"])


#: the choices of `instructions.metric`
SCORES: dict[str, Score] = {"log_likelihood": log_likelihood, "macro_f1": macro_f1}


def error_of_difference(metric: str, before: Answers, after: Answers, seed: int) -> float:
    """Standard error of SCORES[metric](after) - SCORES[metric](before), pair by pair."""
    count = len(before.label)
    if metric == "log_likelihood":
        return float((after.log_likelihood - before.log_likelihood).std(ddof=1) / np.sqrt(count))
    draws = np.random.default_rng(seed).integers(count, size=(_RESAMPLES, count))
    differences = [macro_f1(_rows(after, rows)) - macro_f1(_rows(before, rows)) for rows in draws]
    return float(np.std(differences, ddof=1))


def _rows(answers: Answers, rows: np.ndarray) -> Answers:
    return Answers(answers.label[rows], answers.predicted[rows], answers.log_likelihood[rows], answers.grades)


def compare(metric: str, margin: float, before: Answers, after: Answers, seed: int) -> tuple[float, float, bool]:
    """(difference, its standard error, whether it counts)."""
    difference = SCORES[metric](after) - SCORES[metric](before)
    error = error_of_difference(metric, before, after, seed)
    return difference, error, difference > margin * error


def evolve(
    written: Lines, mutate: Mutate, judge: Judge, fits: Callable[[Lines], bool], metric: str, margin: float, candidates: int, seed: int
) -> tuple[Lines, list[Trial]]:
    """(the best text, every candidate scored). fits: whether a text may be tried at all. No text is scored twice; fewer than `candidates` are
    scored where no new one is found."""
    generator = random.Random(seed)
    best, known = written, {written}
    answers = judge(written)
    trials: list[Trial] = []
    while len(trials) < candidates:
        drawn = _candidate(best, mutate, fits, known, generator)
        if drawn is None:
            break
        mutation, lines = drawn
        known.add(lines)
        found = judge(lines)
        difference, error, accepted = compare(metric, margin, answers, found, seed + len(trials))
        trials.append(Trial(len(trials) + 1, mutation, lines, SCORES[metric](found), difference, error, accepted))
        if accepted:
            best, answers = lines, found
    return best, trials


def _candidate(
    best: Lines, mutate: Mutate, fits: Callable[[Lines], bool], known: set[Lines], generator: random.Random
) -> tuple[str, Lines] | None:
    for _ in range(_DRAWS):
        drawn = mutate(best, generator)
        if drawn is not None and drawn[1] not in known and fits(drawn[1]):
            return drawn
    return None

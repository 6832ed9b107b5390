"""Rewards see the parsed label and the training label, nothing else; what does not parse earns the penalty."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace
from typing import Any

import pytest

from lore_lab.data.example import Example
from lore_lab.prompts.formats import Parsed, response_format
from lore_lab.rewards.case import Case
from lore_lab.rewards.exact import reward as exact
from lore_lab.rewards.graded import reward as graded
from lore_lab.rewards.judge import Judge

PAIRS = [(grade, label, grades) for grades in range(2, 6) for grade in range(grades) for label in range(grades)]


def example(label: int) -> Example:
    return Example("train-0", "q", "i", "red dress", {"title": "dress"}, label=label, gold=label, difficulty=math.nan)


def case(grade: int, label: int, grades: int, reasoning: str = "") -> Case:
    return Case(grade, reasoning, True, example(label), grades)


def settings(name: str, invalid: float = -0.5, **terms: Any) -> Any:
    return SimpleNamespace(name=name, invalid=invalid, **{term: SimpleNamespace(enabled=True, **values) for term, values in terms.items()})


def judge(name: str, invalid: float = -0.5, limit: int = 100, **terms: Any) -> Judge:
    return Judge(settings(name, invalid, **terms), response_format("reason_first", 4), limit, lambda ids: ("", Parsed(None)))


@pytest.mark.parametrize(("grade", "label", "grades"), PAIRS)
def test_exact_pays_for_the_right_grade_alone(grade: int, label: int, grades: int) -> None:
    assert exact(case(grade, label, grades), None) == (1.0 if grade == label else 0.0)


@pytest.mark.parametrize(("grade", "label", "grades"), PAIRS)
def test_graded_falls_by_equal_steps_from_one_to_zero_across_the_scale(grade: int, label: int, grades: int) -> None:
    steps = [1 - step / (grades - 1) for step in range(grades)]
    assert graded(case(grade, label, grades), None) == pytest.approx(steps[abs(grade - label)])


def test_with_two_grades_both_rewards_are_one() -> None:
    two = [pair for pair in PAIRS if pair[2] == 2]
    assert [graded(case(*pair), None) for pair in two] == [exact(case(*pair), None) for pair in two]


@pytest.mark.parametrize("name", ["exact", "graded", "format", "rule_aware"])
def test_an_invalid_completion_earns_the_penalty_whatever_it_says(name: str) -> None:
    layout = response_format("reason_first", 4)
    for parsed in (
        layout.parse("right grade\nanswer: 3\nanswer: 3", finished=True),
        layout.parse("right grade\nanswer: 3", finished=False),
    ):
        outcome = judge(name).judge(example(2), parsed, 10)
        assert (outcome.reward, outcome.correct, outcome.valid, outcome.grade) == (-0.5, False, False, None)


@pytest.mark.parametrize(("name", "expected"), [("exact", [0, 0, 1, 0]), ("graded", [1 / 3, 2 / 3, 1, 2 / 3])])
def test_a_valid_completion_earns_by_its_label(name: str, expected: list[float]) -> None:
    assert [judge(name).judge(example(2), Parsed(grade), 5).reward for grade in range(4)] == pytest.approx(expected)


def test_the_label_reward_does_not_read_the_reasoning() -> None:
    assert exact(case(2, 2, 4, "nonsense"), None) == exact(case(2, 2, 4, "a perfect proof"), None)


def test_overlong_is_dapos_formula() -> None:
    term = importlib.import_module("lore_lab.rewards.overlong").term
    config = SimpleNamespace(buffer=20, weight=2.0)
    assert [term(tokens, 100, False, config) for tokens in (0, 80, 90, 100, 150)] == [0, 0, -1, -2, -2]


def test_length_terms_add_up_and_a_wrong_answer_gains_nothing_by_being_short() -> None:
    both = judge("exact", overlong={"buffer": 20, "weight": 1.0}, brevity={"weight": 0.2})
    assert both.judge(example(2), Parsed(2), 50).reward == pytest.approx(1 - 0.1)
    assert both.judge(example(2), Parsed(2), 90).reward == pytest.approx(1 - 0.18 - 0.5)
    assert both.judge(example(2), Parsed(1), 1).reward == both.judge(example(2), Parsed(1), 50).reward == 0


def test_longer_than_the_limit_is_invalid() -> None:
    assert not judge("exact", limit=10).judge(example(2), Parsed(2), 11).valid

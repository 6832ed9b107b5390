"""Rewards see the parsed label and the training label, nothing else."""

from __future__ import annotations

import pytest

from lore_lab.prompts.formats import Parsed, response_format
from lore_lab.rewards.label import REWARDS, exact, graded, reward

PAIRS = [(grade, label, grades) for grades in range(2, 6) for grade in range(grades) for label in range(grades)]


@pytest.mark.parametrize(("grade", "label", "grades"), PAIRS)
def test_exact_pays_for_the_right_grade_alone(grade: int, label: int, grades: int) -> None:
    assert exact(grade, label, grades) == (1.0 if grade == label else 0.0)


@pytest.mark.parametrize(("grade", "label", "grades"), PAIRS)
def test_graded_falls_by_equal_steps_from_one_to_zero_across_the_scale(grade: int, label: int, grades: int) -> None:
    steps = [1 - step / (grades - 1) for step in range(grades)]
    assert graded(grade, label, grades) == pytest.approx(steps[abs(grade - label)])
    assert (graded(grade, label, grades) == 1) == (grade == label)


def test_with_two_grades_both_rewards_are_one() -> None:
    assert [graded(*case) for case in PAIRS if case[2] == 2] == [exact(*case) for case in PAIRS if case[2] == 2]


@pytest.mark.parametrize("name", REWARDS)
def test_an_invalid_completion_earns_the_penalty_whatever_it_says(name: str) -> None:
    layout = response_format("reason_first", 4)
    parsed = layout.parse("right grade\nanswer: 3\nanswer: 3", finished=True)
    assert reward(name, -0.5, parsed, label=2, grades=4) == -0.5
    assert reward(name, -0.5, layout.parse("right grade\nanswer: 3", finished=False), label=2, grades=4) == -0.5


@pytest.mark.parametrize(("name", "expected"), [("exact", [0, 0, 1, 0]), ("graded", [1 / 3, 2 / 3, 1, 2 / 3])])
def test_a_valid_completion_earns_by_its_label(name: str, expected: list[float]) -> None:
    assert [reward(name, -1, Parsed(grade), label=2, grades=4) for grade in range(4)] == pytest.approx(expected)


def test_the_reward_does_not_read_the_reasoning() -> None:
    assert reward("exact", 0, Parsed(2, "nonsense"), 2, 4) == reward("exact", 0, Parsed(2, "a perfect proof"), 2, 4)

"""Rewards of the label alone. Verifiable: functions of the parsed completion and of the training label, nothing else."""

from __future__ import annotations

from collections.abc import Callable

from lore_lab.prompts.formats import Parsed

#: (parsed completion, training label, number of grades) -> reward of a valid completion
LabelReward = Callable[[int, int, int], float]


def exact(grade: int, label: int, grades: int) -> float:
    """1 for the right grade, else 0."""
    return float(grade == label)


def graded(grade: int, label: int, grades: int) -> float:
    """1 - |grade - label| / (grades - 1): neighbouring grades earn part of the reward. Assumed."""
    return 1.0 - abs(grade - label) / (grades - 1)


REWARDS: dict[str, LabelReward] = {"exact": exact, "graded": graded}


def reward(name: str, invalid: float, parsed: Parsed, label: int, grades: int) -> float:
    """The reward of a completion; `invalid` when it does not parse, whatever it says."""
    return invalid if parsed.grade is None else REWARDS[name](parsed.grade, label, grades)

"""1 - |grade - label| / (grades - 1): neighbouring grades earn part of the reward. Assumed."""

from __future__ import annotations

from typing import Any

from lore_lab.rewards.case import Case


def reward(case: Case, settings: Any) -> float:
    return 1.0 - abs(case.grade - case.example.label) / (case.grades - 1)

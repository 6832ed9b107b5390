"""1 for the right grade, else 0."""

from __future__ import annotations

from typing import Any

from lore_lab.rewards.case import Case


def reward(case: Case, settings: Any) -> float:
    return float(case.grade == case.example.label)

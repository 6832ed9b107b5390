"""1 for a completion in the layout whose reasoning, where the layout has any, follows the grammar in every line; else 0. Blind to the label."""

from __future__ import annotations

from typing import Any

from lore_lab.cot.parse import parse_reasoning
from lore_lab.rewards.case import Case


def reward(case: Case, settings: Any) -> float:
    return float(not case.reasons or parse_reasoning(case.reasoning).well_formed)

"""No reasoning: the target is the label alone. The only recipe for sources without facts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import Recipe, register

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts


@register("none")
class NoReasoning(Recipe):
    def reasoning(self, example: Example, rng: random.Random) -> str:
        """Always empty; needs no facts."""
        return ""

    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        return ""

"""LREF's Multi-CoT: each target is written by one of expert explaining, rule adherence and decision reflection, in equal shares."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import RECIPES, Recipe, register

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts

PARTS = ("expert", "rules", "reflection")


@register("multi")
class Multi(Recipe):
    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        part = RECIPES[rng.choice(PARTS)]
        return part(self.config, self._source, self._rule_texts).write(example, facts, rng)

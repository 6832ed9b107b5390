"""LREF's Multi-CoT: each target is written by one of `cot.parts` (expert explaining, rule adherence, decision reflection), in equal shares.

The paper adds the three one after the other; that a pair gets one of them, and not one after the other in one text, is assumed.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import RECIPES, Recipe, register

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts


@register("multi")
class Multi(Recipe):
    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        part = RECIPES[rng.choice(self.config.parts)]
        return part(self.config, self._source, self._rule_texts, {}).write(example, facts, rng)

"""Reasoning that stage `teach` got from a language model; nothing is written here."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import Recipe, register

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts


@register("teacher")
class Teacher(Recipe):
    def covers(self, example: Example) -> bool:
        return example.id in self._taught

    def reasoning(self, example: Example, rng: random.Random) -> str:
        """The teacher's, one wording for every seed. Raises KeyError for a pair that was quarantined."""
        return self._taught[example.id]

    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        return self._taught[example.id]

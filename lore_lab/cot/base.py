"""What a recipe is, and the registry that finds one by name."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from lore_lab.config.cot import CotConfig
    from lore_lab.data.example import Example, Facts


class Recipe(ABC):
    """Writes the reasoning of a training target: lines of text that lead to the gold grade but never state it."""

    name: ClassVar[str]

    def __init__(self, config: CotConfig, source: str, rule_texts: Mapping[str, str], taught: Mapping[str, str]) -> None:
        """source: named in errors. rule_texts: rule id -> sentence, for recipes that quote rules. taught: a teacher's reasoning by example id."""
        self.config, self._source, self._rule_texts, self._taught = config, source, rule_texts, taught

    def covers(self, example: Example) -> bool:
        """Whether `example` can have a target: one that a teacher was quarantined for cannot."""
        return True

    def reasoning(self, example: Example, rng: random.Random) -> str:
        """Reasoning for `example`, one of many wordings as `rng` has it. Raises ValueError when the source gives no facts."""
        if example.facts is None:
            raise ValueError(
                f"cot={self.name} needs the facts behind a judgement, and source {self._source!r} gives none "
                f"(example {example.id!r}): use cot=none, or cot=teacher"
            )
        return self.write(example, example.facts, rng)

    @abstractmethod
    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        """The reasoning, from facts that are there."""


RECIPES: dict[str, type[Recipe]] = {}


def register(name: str) -> Callable[[type[Recipe]], type[Recipe]]:
    """Class decorator: make a recipe known by `name`."""

    def add(recipe: type[Recipe]) -> type[Recipe]:
        recipe.name = name
        RECIPES[name] = recipe
        return recipe

    return add


def build_recipe(
    config: CotConfig, source: str = "this source", rule_texts: Mapping[str, str] | None = None, taught: Mapping[str, str] | None = None
) -> Recipe:
    """The recipe `config.name`. Raises ValueError for an unknown name."""
    if config.name not in RECIPES:
        raise ValueError(f"cot={config.name!r} is not one of {', '.join(RECIPES)}")
    return RECIPES[config.name](config, source, rule_texts or {}, taught or {})

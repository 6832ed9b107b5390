"""Where the reasoning in training targets comes from: one module a recipe, found by name."""

from lore_lab.cot import expert, multi, naive, none, progressive, reflection, rules, teacher  # noqa: F401  (importing registers)
from lore_lab.cot.base import RECIPES, Recipe, build_recipe
from lore_lab.cot.parse import ParsedReasoning, parse_reasoning

__all__ = ["RECIPES", "ParsedReasoning", "Recipe", "build_recipe", "parse_reasoning"]

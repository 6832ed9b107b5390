"""Where the reasoning in training targets comes from: one module a recipe, found by name."""

from lore_lab.cot import none, progressive  # noqa: F401  (importing a recipe registers it)
from lore_lab.cot.base import Recipe, build_recipe

__all__ = ["Recipe", "build_recipe"]

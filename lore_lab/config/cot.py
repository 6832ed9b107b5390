"""Settings of the reasoning in training targets: which recipe writes it, and with what."""

from __future__ import annotations

from dataclasses import dataclass

from lore_lab.config.fields import setting

RECIPES = ("none", "naive", "progressive", "expert", "rules", "reflection", "multi", "teacher")


@dataclass
class CotConfig:
    """One recipe. The switches act where the recipe knows the step (docs/world.md, Reasoning)."""

    name: str = setting("who writes the reasoning", source="LORE 4.1 and LREF 3.2, in outline", choices=RECIPES)
    knowledge: bool = setting("progressive: say what the query's words mean", source="LORE 4.1, in outline")
    caption: bool = setting("progressive: say what only the image shows", source="LORE 4.1, in outline")
    rules: bool = setting("progressive: say which rules fire", source="LORE 4.1, in outline")
    mistake_rate: float = setting("naive: share of steps that are wrong on the way to the right grade", source="assumed", ge=0, le=1)
    value_rate: float = setting("progressive: share of path steps that name what was found", ge=0, le=1)
    parts: list[str] = setting(
        "multi: a target is written by one of these, in equal shares",
        source="LREF 3.2, in outline",
        choices=("expert", "rules", "reflection"),
    )

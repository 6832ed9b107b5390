"""LREF's Expert Explaining, in outline: the gold grade is known, and the text explains it along category, brand, attributes
and keywords."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import Recipe, register
from lore_lab.cot.words import clean, wanted

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts, Match, Need, Verdict

SAYS: dict[Verdict, tuple[str, ...]] = {
    "match": ("{dimension} {found} is what was asked for", "{dimension} {found} meets the wish", "{dimension} {found} is right"),
    "miss": (
        "{dimension} {found} instead of {need}", "{need} was wanted, {dimension} {found} is offered",
        "{dimension} {found} goes against {need}",
    ),
    "unknown": ("{dimension} {need} is not confirmed", "nothing shows {dimension} {need}", "{dimension} {need} stays open"),
}  # fmt: skip
NOT_ASKED = ("not asked for", "no demand", "open")


@register("expert")
class Expert(Recipe):
    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        angles: dict[str, list[str]] = {"category": [], "brand": [], "attributes": []}
        for need, match in zip(facts.needs, facts.matches, strict=True):
            angle = match.dimension if match.dimension in ("category", "brand") else "attributes"
            angles[angle].append(self._say(need, match, rng))
        angles["keywords"] = [f"{clean(need.surface)} is {wanted(need)}" for need in facts.needs if need.knowledge]
        rng.shuffle(angles["attributes"])
        lines = [f"{angle}: {'; '.join(said) or rng.choice(NOT_ASKED)}" for angle, said in angles.items()]
        return "\n".join(lines)

    @staticmethod
    def _say(need: Need, match: Match, rng: random.Random) -> str:
        words = {"dimension": clean(match.dimension), "found": clean(match.found), "need": wanted(need)}
        return rng.choice(SAYS[match.verdict]).format(**words)

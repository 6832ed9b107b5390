"""LREF's Decision Reflection, in outline: a random wrong decision is on the table, and the text says why it is wrong.

The wrong decision is named by its direction (too generous, too harsh), never by its grade.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import Recipe, register
from lore_lab.cot.words import clean, clean_name, wanted

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts, Match, Need

BEST = 3  #: the grade above which nothing lies
OPTIMISTIC = 0.7  #: share of wrong decisions that are too kind where both ways are open (LREF, secondary notes)
GENEROUS = ("the first decision was too generous", "somebody judged this too kindly", "the earlier judgement was too high")
HARSH = ("the first decision was too harsh", "somebody judged this too strictly", "the earlier judgement was too low")
BECAUSE = ("because", "since", "the reason is that")
LOST = {
    "miss": ("{dimension} is {found} where {need} was asked", "{dimension} {found} is not {need}", "{need} was asked, not {found}"),
    "unknown": ("nothing confirms {dimension} {need}", "{dimension} {need} is left open", "the page does not show {need}"),
}
KEPT = ("{dimension} {found} is as asked", "the wish for {need} is met", "{dimension} does satisfy {need}")


@register("reflection")
class Reflection(Recipe):
    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        pairs = list(zip(facts.needs, facts.matches, strict=True))
        lost = [pair for pair in pairs if pair[1].verdict != "match"]
        kept = [pair for pair in pairs if pair[1].verdict == "match"]
        # a wrong decision lies above or below the gold grade; at the ends there is one way to be wrong
        generous = example.gold == 0 or (example.gold < BEST and rng.random() < OPTIMISTIC)
        shown = lost if generous else kept
        rng.shuffle(shown)
        opening = rng.choice(GENEROUS if generous else HARSH)
        reasons = [self._reason(need, match, rng) for need, match in shown]
        reasons += [f"the rule {clean_name(rule)} applies" for rule in facts.rules]
        return f"{opening}\n{rng.choice(BECAUSE)} {'; '.join(reasons) or 'a closer look says so'}"

    @staticmethod
    def _reason(need: Need, match: Match, rng: random.Random) -> str:
        ways = KEPT if match.verdict == "match" else LOST[match.verdict]
        return rng.choice(ways).format(dimension=clean_name(match.dimension), found=clean(match.found), need=wanted(need))

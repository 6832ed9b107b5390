"""A naive teacher: another voice, longer, thinking aloud, at a rate wrong on the way; the grade it ends in is right all the same.

Stands for plain distillation of a teacher's chain of thought (LORE's preliminary exploration): no sections to check, steps
that need not be true, filler that costs tokens.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import Recipe, register
from lore_lab.cot.words import clean, wanted

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts, Match, Need, Verdict

OPENINGS = (
    "okay, let me think about what this shopper is after.", "hmm, so we have a query and a product here.",
    "first i want to understand the request.", "let us go through this slowly.", "so, somebody typed a query into the shop.",
)  # fmt: skip
ASKS = ("they seem to want {need}", "one thing they ask for is {need}", "i read this as wanting {need}", "so {need} matters to them")
TOLD: dict[Verdict, tuple[str, ...]] = {
    "match": ("and the product has that", "which the product covers", "and that looks fine here"),
    "miss": ("but the product does not have that", "which the product fails at", "and here the product is off"),
    "unknown": ("but i cannot tell from the page", "which the page keeps silent about", "and nobody says so"),
}
DOUBTS = ("wait, let me look again.", "hmm, is that so?", "let me double check this.", "not sure, but let us go on.")
CLOSINGS = ("taking all this together i can decide.", "so overall my mind is made up.", "that should be enough to settle it.")


@register("naive")
class Naive(Recipe):
    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        pairs = list(zip(facts.needs, facts.matches, strict=True))
        rng.shuffle(pairs)
        said = [rng.choice(OPENINGS)]
        for need, match in pairs:
            said.append(self._step(need, match, rng))
            if rng.random() < 0.3:
                said.append(rng.choice(DOUBTS))
        said.append(rng.choice(CLOSINGS))
        return " ".join(said)

    def _step(self, need: Need, match: Match, rng: random.Random) -> str:
        """One need and what became of it; at the mistake rate the verdict is another one."""
        verdict = match.verdict
        if rng.random() < self.config.mistake_rate:
            verdict = rng.choice([other for other in TOLD if other != verdict])
        ask = rng.choice(ASKS).format(need=f"{clean(need.dimension)} {wanted(need)}")
        return f"{ask}, {rng.choice(TOLD[verdict])}."

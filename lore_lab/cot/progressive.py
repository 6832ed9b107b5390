"""LORE's progressive synthesis, in outline: needs -> knowledge -> what the image shows -> path by dimension -> rules.

    needs: category dress, colour black
    know: goth means black
    seen: colour blue
    path: category match, colour blue miss
    rules: none

Each of knowledge, caption and rules is a switch, so that the synthesis can be ablated step by step. Without a switch its
section is absent, not empty. `parse.py` reads the text back.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import Recipe, register
from lore_lab.cot.words import MEANS, NOTHING, VERDICTS, clean, clean_name, wanted

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts, Match, Need

SEPARATORS = (", ", "; ")
LINKS = ("", "", "is ", "as ")  #: between a dimension and its value; mostly nothing


@register("progressive")
class Progressive(Recipe):
    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        pairs = list(zip(facts.needs, facts.matches, strict=True))
        if rng.random() < 0.5:  # the category first, or any order
            rng.shuffle(pairs)
        link = rng.choice(LINKS)
        lines = [self._line("needs", [f"{clean_name(need.dimension)} {link}{wanted(need)}" for need, _ in pairs], rng)]
        if self.config.knowledge:
            lines += self._know([need for need, _ in pairs], rng)
        if self.config.caption:
            seen = [f"{clean_name(match.dimension)} {clean(match.found)}" for _, match in pairs if match.evidence == "caption"]
            lines += [self._line("seen", seen, rng)] if seen else []
        if rng.random() < 0.3:
            rng.shuffle(pairs)
        words = {verdict: rng.choice(ways) for verdict, ways in VERDICTS.items()}
        lines.append(self._line("path", [self._step(match, words[match.verdict], rng) for _, match in pairs], rng))
        if self.config.rules:
            fired = [clean_name(rule) for rule in facts.rules] or [rng.choice(NOTHING)]
            lines.append(self._line("rules", fired, rng))
        return "\n".join(lines)

    @staticmethod
    def _line(section: str, entries: list[str], rng: random.Random) -> str:
        return f"{section}: {rng.choice(SEPARATORS).join(entries)}"

    def _know(self, needs: list[Need], rng: random.Random) -> list[str]:
        """Words that need knowledge, each with all it stands for; no line when there are none."""
        meanings: dict[str, list[str]] = {}
        for need in needs:
            if need.knowledge:
                meanings.setdefault(clean(need.surface), []).append(wanted(need))
        means = rng.choice(MEANS)
        entries = [f"{surface} {means} {' and '.join(values)}" for surface, values in meanings.items()]
        return [self._line("know", entries, rng)] if entries else []

    def _step(self, match: Match, verdict: str, rng: random.Random) -> str:
        named = match.found and rng.random() < self.config.value_rate
        return f"{clean_name(match.dimension)} {clean(match.found) + ' ' if named else ''}{verdict}"

"""LREF's Rule Adherence, in outline: first the product rule (is it the wanted kind of thing), then the modifier rules, each
quoted where it applies."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lore_lab.cot.base import Recipe, register
from lore_lab.cot.words import clean, clean_name

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Facts

PRODUCT = {
    True: ("the product is the wanted {value}", "this is a {value} as asked", "right kind of product, a {value}"),
    False: ("the product is not the wanted {value}", "this is no {value}", "wrong kind of product, no {value}"),
}
MODIFIERS = (
    "{kept} of {all} modifiers hold", "modifiers that hold, {kept} of {all}", "{kept} out of {all} modifiers are kept",
)  # fmt: skip
BROKEN = ("broken: {names}", "not held: {names}", "the product lacks {names}")
SILENT = ("no further rule applies", "nothing else in the rule book applies", "the other rules stay silent")


@register("rules")
class RuleAdherence(Recipe):
    def write(self, example: Example, facts: Facts, rng: random.Random) -> str:
        first, modifiers = facts.matches[0], facts.matches[1:]
        value = clean(facts.needs[0].value)
        lines = [f"product rule: {rng.choice(PRODUCT[first.verdict == 'match']).format(value=value)}"]
        if modifiers:
            kept = sum(match.verdict == "match" for match in modifiers)
            told = rng.choice(MODIFIERS).format(kept=self._count(kept), all=self._count(len(modifiers)))
            lost = [clean_name(match.dimension) for match in modifiers if match.verdict != "match"]
            rng.shuffle(lost)
            lines.append(f"modifier rule: {told}" + (f", {rng.choice(BROKEN).format(names=', '.join(lost))}" if lost else ""))
        lines += [f"rule {clean_name(rule)}: {clean(self._rule_texts.get(rule, 'applies'))}" for rule in facts.rules]
        return "\n".join(lines if facts.rules else [*lines, rng.choice(SILENT)])

    @staticmethod
    def _count(number: int) -> str:
        """Spelled out: a digit in reasoning could be taken for a grade."""
        return ("none", "one", "two", "three", "four", "five", "six")[number] if number < 7 else "many"

"""A perfect judge that reads: from the visible fields of an item and the needs of the query to the grade.

It shares the vocabulary and the rule book with the generator, and nothing else: it never sees the item's true values, only
the fields, and it walks the rules as they stand in the YAML. That it is always right is what "decidable from the visible
fields" means here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lore_lab.data.example import Example, Need
    from lore_lab.data.world.tables import Category, Slot, Tables

#: whom to believe first: a wrong caption or table cell is contradicted by a field before it
TRUST = ("title", "description", "reviews", "caption")


BEST = 3


def _says(text: str, words: str) -> int:
    """Where `text` states `words` as whole words, -1 when it does not."""
    found = re.search(rf"(?<![\w-]){re.escape(words)}(?![\w-])", text)
    return found.start() if found else -1


class Oracle:
    """Grades examples of one world from what they show. Raises ValueError for examples without facts (their needs are read)."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def grade(self, example: Example) -> int:
        """0..3."""
        if example.facts is None:
            raise ValueError(f"the oracle reads the needs of a query from its facts; example {example.id!r} has none")
        category = self._tables.categories[example.item["category"]]
        wording, imitates, item = self._wording(example.item)
        found = {slot.name: self._read(slot, item) for slot in category.slots}
        if "condition" in found and not found["condition"]:
            found["condition"] = "new"
        signals = self._signals(example.facts.needs, category, found)
        signals |= {"wording": wording, "condition": found.get("condition", "new")}
        if imitates:
            wanted = next((need.value for need in example.facts.needs if need.dimension == "brand"), "")
            signals["imitates"] = "wanted" if imitates == wanted else "other"
        return self._walk(example.facts.needs, signals)

    def _wording(self, item: Mapping[str, str]) -> tuple[str, str, dict[str, str]]:
        """The title's wording, whose style it names, and the item with the wording taken out."""
        title = item["title"]
        for wording, patterns in self._tables.templates["wording"].items():
            for pattern in patterns:
                for brand in self._tables.brands if "{}" in pattern else ("",):
                    words = pattern.format(brand)
                    if _says(title, words) >= 0:
                        return wording, brand, {**item, "title": title.replace(words, " ")}
        return "plain", "", dict(item)

    @staticmethod
    def _read(slot: Slot, item: Mapping[str, str]) -> str:
        """The value of one dimension as the most trusted field states it, "" when none does."""
        fields = TRUST if slot.visual else TRUST[:-1]
        for field in fields:
            text = item[field]
            stated = [
                (-len(surface), value) for value in slot.values for surface in _wordings(slot, value, field) if _says(text, surface) >= 0
            ]
            if stated:
                return min(stated)[1]  # the longest wording: "vitamin c" rather than a word within it
        cells = dict(cell.split(": ", 1) for cell in item["attributes"].split("; ") if cell)
        return cells.get(slot.name, "")

    def _signals(self, needs: tuple[Need, ...], category: Category, found: Mapping[str, str]) -> dict[str, Any]:
        wanted = needs[0].value
        signals: dict[str, Any] = {"relation": self._tables.relation(wanted, category.name), "intent": "plain"}
        if self._tables.categories[wanted].mains:
            signals["accessory"] = "yes"
        for need in needs[1:]:
            name, value = need.dimension, found.get(need.dimension, "")
            substitute = need.negated and name == "brand" and need.knowledge != ""
            if substitute:
                signals["intent"] = "substitute"
            signals[("not." if need.negated else "want.") + name] = need.value
            if not value:
                signals["verdict." + name] = "unknown"
                continue
            right = (value != need.value) if need.negated else (value == need.value)
            signals["verdict." + name] = "match" if right else "miss"
            signals["found." + name] = value
            slot = category.slot[name]
            if slot.ordered and not need.negated and need.value in slot.values:
                signals["gap." + name] = slot.values.index(value) - slot.values.index(need.value)
            if need.negated and not right and not substitute:
                signals["excluded"] = "yes"
        signals["verdict.category"] = "match" if wanted == category.name else "miss"
        return signals

    def _walk(self, needs: tuple[Need, ...], signals: Mapping[str, Any]) -> int:
        """The rule book as vocab/rules.yaml says it, read literally."""
        cap, excused, silent = BEST, set(), set()
        for rule in self._tables.rules["rules"]:
            cases = rule["when"] if isinstance(rule["when"], list) else [rule["when"]]
            if rule["id"] in silent or not any(all(_allows(a, signals.get(k)) for k, a in case.items()) for case in cases):
                continue
            cap = min(cap, int(rule.get("cap", BEST)))
            excused.add(rule.get("excuse"))
            silent |= set(rule.get("blocks", ()))
            if rule.get("stop"):
                break
        price = self._tables.rules["ladder"]
        verdicts = {need.dimension: signals["verdict." + need.dimension] for need in needs}
        missed = [name for name, verdict in verdicts.items() if verdict == "miss" and name not in excused]
        cost = sum(price["minor"] if name in self._tables.minor else price["key"] for name in missed)
        cost += price["unknown"] if "unknown" in verdicts.values() else 0
        return max(0, min(cap, BEST - int(cost)))


def _wordings(slot: Slot, value: str, field: str) -> tuple[str, ...]:
    """How a field words a value: titles as sellers do, the others by its plain name."""
    if field == "title":
        return slot.surfaces[value]
    if field == "description":
        return tuple(phrase.format(value) for phrase in slot.phrases)
    return (value,)


def _allows(allowed: Any, value: Any) -> bool:
    if allowed == "any":
        return value is not None
    if allowed == "none":
        return value is None
    return value in (allowed if isinstance(allowed, list) else [allowed])

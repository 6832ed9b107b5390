"""Gold judgement: needs against what can be seen of an item, through the rule book, with the facts to prove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lore_lab.data.example import Capability, Facts, Match, Verdict
from lore_lab.data.world.rules import Judgement, RuleBook

if TYPE_CHECKING:
    from lore_lab.data.world.items import Item
    from lore_lab.data.world.queries import Query
    from lore_lab.data.world.tables import Tables

#: what makes a pair hard, and by how much; the sum is clipped to 1
DIFFICULTY = {"need": 0.07, "knowledge": 0.16, "seen": 0.16, "rule": 0.2, "negation": 0.1, "typo": 0.06, "unknown": 0.08}


@dataclass(frozen=True, slots=True)
class Gold:
    """The gold side of an example."""

    grade: int
    facts: Facts
    capability: Capability
    difficulty: float
    themes: tuple[str, ...]  #: rules at stake (capability rule), or what only the image decides (capability visual)


class Judge:
    """Grades pairs of one world."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.book = RuleBook(tables.rules, tables.minor)

    def judge(self, query: Query, item: Item, evidence: dict[str, str]) -> Gold:
        """The gold grade of (query, item), where `evidence` names the field that shows each visible dimension."""
        matches, signals = self._compare(query, item, evidence)
        judgement = self.book.judge(matches, signals)
        seen = [match for match in matches if match.evidence in ("caption", "reviews")]
        notes = {need.knowledge for need in query.needs if need.knowledge}
        needs = len(query.needs)
        hops = needs + len(notes) + len(seen) + len(judgement.rules)
        weight = DIFFICULTY
        difficulty = (
            weight["need"] * (needs - 1) + weight["knowledge"] * len(notes) + weight["seen"] * len(seen)
            + weight["rule"] * (judgement.grade != judgement.agreement) + weight["typo"] * query.typo
            + weight["negation"] * any(need.negated for need in query.needs)
            + weight["unknown"] * any(match.verdict == "unknown" for match in matches)
        )  # fmt: skip
        facts = Facts(query.needs, tuple(matches), judgement.rules, hops)
        capability, themes = self._capability(query, matches, judgement, seen)
        return Gold(judgement.grade, facts, capability, round(min(1.0, difficulty), 4), themes)

    def _compare(self, query: Query, item: Item, evidence: dict[str, str]) -> tuple[list[Match], dict[str, Any]]:
        """Matches beside the query's needs, and the signals of the rule book."""
        wanted = query.needs[0].value
        category = item.category
        signals: dict[str, Any] = {"relation": self._tables.relation(wanted, category.name)}
        same = wanted == category.name
        matches = [Match("category", "match" if same else "miss", category.name, "title")]
        brand = ""
        for need in query.needs[1:]:
            name = need.dimension
            value = item.values.get(name)
            field = evidence.get(name, "")
            if name == "condition" and value is not None and not field:
                field = "title"  # a title that says nothing of use says new
            verdict: Verdict = "unknown"
            if value is not None and field:
                verdict = "match" if (value == need.value) != need.negated else "miss"
            matches.append(Match(name, verdict, value or "" if field else "", field if value is not None else ""))
            self._signal(signals, need.value, need.negated, matches[-1], query.substitute, category.slot.get(name))
            if name == "brand":
                brand = need.value
        signals["condition"] = item.values.get("condition", "new")
        signals["intent"] = "substitute" if query.substitute else "plain"
        signals["wording"] = item.wording
        if item.imitates:
            signals["imitates"] = "wanted" if item.imitates == brand else "other"
        if self._tables.categories[wanted].mains:
            signals["accessory"] = "yes"
        return matches, signals

    @staticmethod
    def _signal(signals: dict[str, Any], value: str, negated: bool, match: Match, substitute: bool, slot: Any) -> None:
        name = match.dimension
        signals[f"not.{name}" if negated else f"want.{name}"] = value
        signals[f"verdict.{name}"] = match.verdict
        if match.found:
            signals[f"found.{name}"] = match.found
            if slot.ordered and not negated and value in slot.values:
                signals[f"gap.{name}"] = slot.gap(value, match.found)
        if negated and match.verdict == "miss" and not (substitute and name == "brand"):
            signals["excluded"] = "yes"

    def _capability(
        self, query: Query, matches: list[Match], judgement: Judgement, seen: list[Match]
    ) -> tuple[Capability, tuple[str, ...]]:
        if judgement.at_stake:
            return "rule", judgement.at_stake
        decisive = self._decisive(matches, judgement, seen) if seen else []
        if decisive:
            excluded = {need.dimension for need in query.needs if need.negated}
            return "visual", tuple("excluded" if name in excluded else name for name in decisive)
        demanding = query.typo or any(need.knowledge or need.negated for need in query.needs)
        return "hard" if demanding or len(query.needs) >= 4 else "general", ()

    def _decisive(self, matches: list[Match], judgement: Judgement, seen: list[Match]) -> list[str]:
        """The dimensions on which the grade would differ had the image shown something else."""
        decisive = []
        for match in seen:
            turned: Verdict = "miss" if match.verdict == "match" else "match"
            other = [Match(m.dimension, turned, m.found, m.evidence) if m is match else m for m in matches]
            rules = [rule for rule in judgement.rules if rule != "excluded" or turned == "miss"]
            if self.book.grade(other, rules) != judgement.grade:
                decisive.append(match.dimension)
        return decisive

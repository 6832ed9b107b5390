"""The rule book (vocab/rules.yaml), compiled: from signals and matches to a grade and the rules that fired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lore_lab.data.example import Match

Signals = Mapping[str, Any]  #: what vocab/rules.yaml calls signals; an absent key is `none`
BEST = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as data; `when` and `cue` are alternatives of (signal, allowed values or None for `none`) tuples."""

    id: str
    text: str
    when: tuple[tuple[tuple[str, tuple[Any, ...] | str], ...], ...]
    cue: tuple[tuple[tuple[str, tuple[Any, ...] | str], ...], ...]
    cap: int
    excuse: str
    blocks: frozenset[str]
    stop: bool
    basic: bool
    core: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    grade: int
    rules: tuple[str, ...]  #: fired, in precedence order
    agreement: int  #: the grade attribute agreement and the basic rules alone would give
    at_stake: tuple[str, ...]  #: rules that decide the grade, and rules whose cue is there but which something else silences


def _alternatives(when: Any) -> tuple[tuple[tuple[str, tuple[Any, ...] | str], ...], ...]:
    maps = when if isinstance(when, list) else [when] if when else []
    return tuple(
        tuple((key, value if value in ("any", "none") else tuple(value) if isinstance(value, list) else (value,)) for key, value in m.items())
        for m in maps
    )  # fmt: skip


def _holds(alternatives: tuple[tuple[tuple[str, tuple[Any, ...] | str], ...], ...], signals: Signals) -> bool:
    for conditions in alternatives:
        for key, allowed in conditions:
            value = signals.get(key)
            if value is None:
                if allowed != "none":
                    break
            elif allowed != "any" and (allowed == "none" or value not in allowed):
                break
        else:
            return True
    return False


class RuleBook:
    """The ladder and the ordered rules of one profile."""

    def __init__(self, book: Mapping[str, Any], minor: frozenset[str]) -> None:
        """book: the parsed rules.yaml, its rules filtered by the profile. minor: dimensions whose misses cost less."""
        self._ladder, self._minor = book["ladder"], minor
        self.rules = tuple(
            Rule(
                id=spec["id"], text=spec["text"], when=_alternatives(spec["when"]), cue=_alternatives(spec.get("cue")),
                cap=spec.get("cap", BEST), excuse=spec.get("excuse", ""), blocks=frozenset(spec.get("blocks", ())),
                stop=spec.get("stop", False), basic=spec.get("basic", False), core=spec.get("core", False),
            )
            for spec in book["rules"]
        )  # fmt: skip
        self._by_id = {rule.id: rule for rule in self.rules}

    def ladder(self, matches: Iterable[Match], excused: Iterable[str] = ()) -> int:
        """The grade of attribute agreement alone; misses on `excused` dimensions cost nothing."""
        cost, unknown = 0, 0
        for match in matches:
            if match.verdict == "miss" and match.dimension not in excused:
                cost += self._ladder["minor" if match.dimension in self._minor else "key"]
            elif match.verdict == "unknown":
                unknown = self._ladder["unknown"]
        return max(0, BEST - cost - unknown)

    def judge(self, matches: Sequence[Match], signals: Signals) -> Judgement:
        """Grade one pair: the ladder, then the rules in order."""
        fired: list[Rule] = []
        silent: list[str] = []
        blocked: frozenset[str] = frozenset()
        for rule in self.rules:
            if rule.id not in blocked and _holds(rule.when, signals):
                fired.append(rule)
                blocked |= rule.blocks
                if rule.stop:
                    break
            elif rule.cue and _holds(rule.cue, signals):
                silent.append(rule.id)
        grade = self._apply(matches, fired)
        agreement = self._apply(matches, [rule for rule in fired if rule.basic])
        decisive = [rule.id for rule in fired if not rule.basic] if grade != agreement else []
        return Judgement(grade, tuple(rule.id for rule in fired), agreement, (*decisive, *silent))

    def grade(self, matches: Sequence[Match], rules: Iterable[str]) -> int:
        """The grade that matches and fired rules (ids) lead to. Raises KeyError for an unknown rule."""
        return self._apply(matches, [self._by_id[name] for name in rules])

    def _apply(self, matches: Sequence[Match], fired: Sequence[Rule]) -> int:
        grade = self.ladder(matches, [rule.excuse for rule in fired if rule.excuse])
        return min([grade, *(rule.cap for rule in fired)])

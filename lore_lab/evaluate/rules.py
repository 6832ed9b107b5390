"""Which grades the rules that fired on a pair leave open, from its gold facts: what an answer that breaks a rule is measured against.

A rule with a cap dictates: at most the cap. A rule that excuses a miss dictates: not for this miss; where leaving the rule out would lower the
grade to g, it asks for more than g. A rule that only silences others dictates nothing by itself. The gold grade keeps all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from lore_lab.data.example import Example, Facts, Match

#: columns of a predictions table: the least and the greatest grade the rules leave open
LEAST, MOST = "rule_least", "rule_most"


class Rule(Protocol):
    """A rule of a book: its id, the grade it allows at most, the dimension whose miss it excuses ("" for none)."""

    @property
    def id(self) -> str: ...
    @property
    def cap(self) -> int: ...
    @property
    def excuse(self) -> str: ...


class Book(Protocol):
    """A source's rule book: what its rules say, and the grade that matches and fired rules lead to."""

    @property
    def rules(self) -> Sequence[Rule]: ...
    def grade(self, matches: Sequence[Match], rules: Iterable[str]) -> int: ...


def open_grades(facts: Facts, book: Book, grades: int) -> tuple[int, int]:
    """(least, greatest) grade index that the fired rules leave open; (0, grades - 1) where none dictates anything."""
    fired = [rule for rule in book.rules if rule.id in facts.rules]
    gold = book.grade(facts.matches, facts.rules)
    others = {rule.id: book.grade(facts.matches, [name for name in facts.rules if name != rule.id]) for rule in fired if rule.excuse}
    least = max((other + 1 for other in others.values() if other < gold), default=0)
    return least, min([grades - 1, *(rule.cap for rule in fired)])


def with_open_grades(table: pd.DataFrame, examples: Iterable[Example], book: Book | None, grades: int) -> pd.DataFrame:
    """`table` of predictions with the columns rule_least and rule_most; as it is where there is no rule book."""
    if book is None:
        return table
    bounds: Mapping[str, tuple[int, int]] = {own.id: open_grades(own.facts, book, grades) for own in examples if own.facts}
    pairs = [bounds.get(example, (0, grades - 1)) for example in table["example_id"]]
    return table.assign(**{LEAST: [least for least, _ in pairs], MOST: [most for _, most in pairs]})


def violations(greedy: pd.DataFrame, grades: int) -> dict[str, Any]:
    """One value a valid answer to a pair on which a rule dictates something: whether the answer lies outside the open grades. Nothing where
    there is no such answer."""
    if MOST not in greedy:
        return {}
    dictated = (greedy[LEAST] > 0) | (greedy[MOST] < grades - 1)
    judged = greedy[dictated & (greedy["predicted"] >= 0)]
    broken = (judged["predicted"] < judged[LEAST]) | (judged["predicted"] > judged[MOST])
    return {"rule_violation_rate": broken.to_numpy().astype(float)} if len(judged) else {}

"""What was wrong with the input: counts, examples and policies, so that nothing is dropped silently."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lore_lab.config.table import ProblemsConfig

KINDS = (
    "encoding",
    "malformed",
    "long_line",
    "missing_column",
    "unknown_label",
    "unknown_split",
    "empty_text",
    "unjoined",
    "unrated",
    "duplicate_id",
    "duplicate",
    "contradictory",
    "shared_query",
)


class TableError(ValueError):
    """The tables cannot be used as they are. Says file, row, column and the nearest valid choice."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """'; did you mean ...?' when a choice is close, else the choices themselves."""
    options = sorted(set(choices))
    folded = {option.casefold(): option for option in options}
    close = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    shown = ", ".join(map(repr, options[:12])) + (", ..." if len(options) > 12 else "")
    return f"; there are: {shown}" if options else ""


@dataclass
class Problem:
    """One kind of bad input."""

    policy: str
    count: int = 0
    dropped: int = 0  #: rows left out because of it
    examples: list[str] = field(default_factory=list)


class Problems:
    """Collects problems while tables are read."""

    def __init__(self, config: ProblemsConfig) -> None:
        self.shown = config.examples
        self.found = {kind: Problem(getattr(config, kind)) for kind in KINDS}

    def meet(self, kind: str, place: str, detail: str, rows: int = 1, drops: int = 1) -> bool:
        """Count a problem met `rows` times; True when its `drops` rows stay out. Without a place there is no example.

        Rows of a kind under the policy `error` stay out too: `stop` raises before anything sees the gap.
        """
        problem = self.found[kind]
        problem.count += rows
        if place and len(problem.examples) < self.shown:
            problem.examples.append(f"{place}: {detail}")
        if problem.policy == "keep":
            return False
        problem.dropped += drops
        return True

    def report(self) -> dict[str, dict[str, Any]]:
        """Every kind with its policy, count, dropped rows and examples."""
        return {
            kind: {"policy": p.policy, "count": p.count, "dropped": p.dropped, "examples": list(p.examples)}
            for kind, p in self.found.items()
        }


def stop(tables: Mapping[str, Problems]) -> None:
    """Raise TableError when some table met something whose policy is `error`."""
    bad = [
        (table, kind, problem)
        for table, problems in tables.items()
        for kind, problem in problems.found.items()
        if problem.count and problem.policy == "error"
    ]
    if not bad:
        return
    lines = ["the tables cannot be used as they are:"]
    for table, kind, problem in bad:
        lines.append(f"  {table}, {kind}: {problem.count}")
        lines += [f"    {example}" for example in problem.examples]
        if problem.count > len(problem.examples):
            lines.append(f"    and {problem.count - len(problem.examples)} more")
    kinds = {kind: " | ".join(choice for choice in policies(kind) if choice != "error") for _, kind, _ in bad}
    ways = ", ".join(f"data.problems.{kind}={choices}" for kind, choices in kinds.items())
    lines.append(f"Correct the rows, or say what becomes of them: {ways}")
    raise TableError("\n".join(lines))


def policies(kind: str) -> tuple[str, ...]:
    """The policies a kind allows."""
    field_of = {field.name: field for field in dataclasses.fields(ProblemsConfig)}
    return tuple(field_of[kind].metadata["choices"])

"""The words around the fields: nothing (bare), the task with its grades (task), or also every rule (full)."""

from __future__ import annotations

from collections.abc import Sequence


def instruction(template: str, grades: Sequence[str], rules: Sequence[str], reason_first: bool) -> list[str]:
    """Lines before the query. grades: names from worst to best; rules: sentences of the source's rule book, may be empty."""
    if template == "bare":
        return []
    scale = " ".join(f"{number} {name}" for number, name in enumerate(grades, start=1))
    order = "reason, then answer" if reason_first else "answer first"
    lines = [f"task: how well does the item meet the query? {order}.", f"grades: {scale}"]
    if template == "full":
        lines += [f"rule: {rule}" for rule in rules]
    return lines

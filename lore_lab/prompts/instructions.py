"""The words around the fields: nothing (bare), the task with what its grades mean and the core rules (task), or every rule (full)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from lore_lab.data.example import Guide

#: template -> the ids of the rules it states
_STATED = {"task": lambda guide: guide.core, "full": lambda guide: tuple(guide.rules)}


def instruction(template: str, grades: Sequence[str], guide: Guide, reason_first: bool) -> list[str]:
    """Lines before the query. grades: names from worst to best, which stand alone where the guide has no definitions."""
    if template == "bare":
        return []
    order = "reason, then answer" if reason_first else "answer first"
    named = [f"{number} {grade}" for number, grade in enumerate(grades, start=1)]
    scale = [f"{name}: {meaning}" if meaning else name for name, meaning in zip_longest(named, guide.definitions, fillvalue="")]
    return [
        f"task: how well does the item meet the query? {order}.",
        *(scale if guide.definitions else [f"grades: {' '.join(named)}"]),
        *(f"rule: {guide.rules[name]}" for name in _STATED[template](guide)),
    ]

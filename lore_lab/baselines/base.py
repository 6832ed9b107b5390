"""What every baseline shares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lore_lab.data.example import Example

_WORD = re.compile(r"\w+")


class Baseline(Protocol):
    """A fitted judge."""

    def predict(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """(grades, scores), both (n,): int grade indices, and floats to rank the items of one query by (higher is better)."""
        ...


def item_text(example: Example, visible_fields: Sequence[str]) -> str:
    """The visible fields of the item in one text."""
    return "\n".join(example.item[name] for name in visible_fields if name in example.item)


def words(text: str) -> list[str]:
    """Lower-case words."""
    return _WORD.findall(text.lower())

"""Label cells and single ratings to grades."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lore_lab.data.table.fields import as_text
from lore_lab.data.table.problems import TableError, nearest

if TYPE_CHECKING:
    from lore_lab.config.table import LabelsConfig


class UnknownLabelError(ValueError):
    """A cell that is no label; the message says what is near."""


class Labels:
    """Maps cells to grade indices, 0 = least relevant."""

    def __init__(self, config: LabelsConfig) -> None:
        self.grades = tuple(config.grades)
        self.cuts, self.low, self.high = list(config.cuts), config.low, config.high
        if not 2 <= len(self.grades) <= 5 or len(set(self.grades)) != len(self.grades):
            raise TableError(f"data.labels.grades={list(self.grades)} must be 2 to 5 distinct names, worst first")
        if config.mapping and self.cuts:
            raise TableError("data.labels has both a mapping and cuts: a label is either a name or a score")
        if self.cuts and (len(self.cuts) != len(self.grades) - 1 or sorted(set(self.cuts)) != self.cuts):
            raise TableError(f"data.labels.cuts={self.cuts} must be {len(self.grades) - 1} ascending numbers, one fewer than grades")
        self.relevant_from = self._grade(config.relevant_from, "data.labels.relevant_from")
        names = config.mapping or {name: name for name in self.grades} | {str(i): name for i, name in enumerate(self.grades)}
        self.values = {value: self._grade(name, f"data.labels.mapping.{value}") for value, name in names.items()}
        self._known: dict[Any, int] = {}

    def _grade(self, name: str, key: str) -> int:
        if name not in self.grades:
            raise TableError(f"{key}={name!r} is no grade of data.labels.grades{nearest(name, self.grades)}")
        return self.grades.index(name)

    def grade(self, cell: Any) -> int:
        """The grade of a cell. Raises UnknownLabelError."""
        text = as_text(cell)
        if text not in self._known:
            grade = self._score(text) if self.cuts else self._name(text)
            if len(self._known) > 10_000:  # scores may be all different
                self._known.clear()
            self._known[text] = grade
        return self._known[text]

    def _name(self, text: str) -> int:
        if text in self.values:
            return self.values[text]
        number = _number(text)
        if number is not None and number.is_integer() and (plain := str(int(number))) in self.values:
            return self.values[plain]  # "3.0" is "3"
        raise UnknownLabelError(f"{text[:80]!r} is no label{nearest(text[:80], self.values)}")

    def _score(self, text: str) -> int:
        score = _number(text)
        if score is None:
            raise UnknownLabelError(f"{text[:80]!r} is no number")
        if (self.low is not None and score < self.low) or (self.high is not None and score > self.high):
            raise UnknownLabelError(f"score {text[:80]} is outside {self.low}..{self.high} (data.labels.low, high)")
        return bisect_right(self.cuts, score)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def combine(votes: Sequence[int], policy: str) -> int:
    """One grade of several raters' grades: majority (a tie falls back to the median) | median (the lower one) | first."""
    if policy == "first":
        return votes[0]
    median = sorted(votes)[(len(votes) - 1) // 2]
    if policy == "median":
        return median
    counts = Counter(votes).most_common()
    return median if len(counts) > 1 and counts[0][1] == counts[1][1] else counts[0][0]


def disagreement(votes: Sequence[int], grades: int) -> float:
    """How far the raters are apart: 0 they agree, 1 they stand at the two ends of the scale."""
    return (max(votes) - min(votes)) / (grades - 1)

"""The most frequent training label for everything. Its ranking is no ranking: all scores are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lore_lab.data.example import Example


@dataclass(frozen=True)
class Majority:
    """Always `grade`."""

    grade: int

    def predict(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(examples), self.grade), np.zeros(len(examples))


def fit(examples: Sequence[Example], visible_fields: Sequence[str], grades: int) -> Majority:
    """The lowest of the most frequent labels. Raises ValueError without examples."""
    if not examples:
        raise ValueError("a baseline needs examples to fit")
    return Majority(int(np.bincount([example.label for example in examples], minlength=grades).argmax()))

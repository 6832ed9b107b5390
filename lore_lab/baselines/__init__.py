"""Judges without a language model, on any source: what a trained judge has to beat.

Each module has `fit(examples, visible_fields, grades) -> Baseline`; a Baseline predicts grades and scores. Deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lore_lab.baselines import bm25, majority, tfidf
from lore_lab.baselines.base import Baseline
from lore_lab.data.example import Example

#: name -> fit(examples, visible_fields, grades)
BASELINES: dict[str, Callable[[Sequence[Example], Sequence[str], int], Baseline]] = {
    "majority": majority.fit,
    "tfidf": tfidf.fit,
    "bm25": bm25.fit,
}

__all__ = ["BASELINES", "Baseline"]

"""LREF's data selection (2503.09223, secondary notes) as pure functions: who judges whom, what MS learns, which pairs stay.

Notes say what IM and CI are trained on and which pairs stay. How large the samples are, that no model judges pairs it was trained on,
and how the label an annotator confuses is found are assumed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from lore_lab.data.example import FREQUENCIES, Example


def folds(examples: Sequence[Example], count: int, rng: random.Random) -> np.ndarray:
    """(pairs,) the part each pair belongs to, 0 to count - 1; pairs of one query share it, and the parts have like numbers of queries."""
    queries = sorted({example.query_id for example in examples})
    rng.shuffle(queries)
    part = {query: place % count for place, query in enumerate(queries)}
    return np.array([part[example.query_id] for example in examples])


def random_sample(examples: Sequence[Example], allowed: Sequence[int], size: int, rng: random.Random) -> list[int]:
    """At most `size` of the places `allowed`, each as likely as another."""
    return rng.sample(list(allowed), min(size, len(allowed)))


def balanced_sample(examples: Sequence[Example], allowed: Sequence[int], size: int, rng: random.Random) -> list[int]:
    """At most `size` of the places `allowed`, as many pairs of head, torso and tail queries each, none twice.

    Raises ValueError where there is no pair of one of them.
    """
    bands = {name: [place for place in allowed if examples[place].frequency == name] for name in FREQUENCIES}
    empty = [name for name, places in bands.items() if not places]
    if empty:
        raise ValueError(
            f"selection.filters has ci, which learns from head, torso and tail queries alike, and there is no pair of {' or '.join(empty)} "
            "queries: take selection=im, or a source that knows the queries' frequency"
        )
    each = min(max(1, size // len(bands)), *map(len, bands.values()))
    return [place for places in bands.values() for place in rng.sample(places, each)]


def confusable(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(pairs,) the likeliest label beside the observed one. probabilities: (pairs, grades), a judge's; labels: (pairs,), taken as right."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1.0
    likeliest: np.ndarray = others.argmax(axis=1)
    return likeliest


def passes(labels: np.ndarray, verdicts: Mapping[str, np.ndarray], ms: str) -> dict[str, np.ndarray]:
    """Filter -> (pairs,) whether a pair passes it. labels: observed; verdicts: judge -> its labels; ms: sign of the filter `ms`."""
    agrees = {"im": False, "ci": True, "ms": ms == "agrees"}
    return {name: (found == labels) == agrees[name] for name, found in verdicts.items()}


def thin(places: np.ndarray, most: int, rng: random.Random) -> np.ndarray:
    """At most `most` of `places`, drawn at random, in their order."""
    return places if len(places) <= most else np.sort(rng.sample(places.tolist(), most))

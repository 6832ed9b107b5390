"""Which training pairs a guide shows with their grades."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from lore_lab.data.example import Example

MOST = 64  #: worked examples a guide has, at most
_AMONG = 1000  #: training pairs looked at


def worked_examples(train: Iterable[Example], grades: int) -> tuple[Example, ...]:
    """The first pairs of each grade, in turn from the worst grade to the best, whose label is right. train: in index order."""
    found: list[list[Example]] = [[] for _ in range(grades)]
    for example in islice(train, _AMONG):
        if example.label == example.gold:
            found[example.gold].append(example)
    rounds = (pairs[turn] for turn in range(MOST) for pairs in found if turn < len(pairs))
    return tuple(islice(rounds, MOST))

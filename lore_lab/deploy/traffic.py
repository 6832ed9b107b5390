"""Who asks what how often: candidate lists of queries by rank, and a Zipf log over the ranks.

A log of a million requests asks more different queries than can be judged, so an octave of ranks (1, 2-3, 4-7, ...) is judged by a sample
of its queries, each standing for others of nearly its frequency. Counts, cache sizes and shares are of all ranks; only quality is the sample's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from lore_lab.data.example import Example, Source


@runtime_checkable
class RankedSource(Protocol):
    """A source that knows how often its queries are asked."""

    ranks: int  #: distinct queries; rank 1 is asked most

    def candidates(self, rank: int, count: int) -> list[Example]:
        """A query of the test pool with `count` items that a search might show for it, in an order that knows nothing of the label."""
        ...


@dataclass(frozen=True)
class Queries:
    """ranks: distinct queries. pairs: the candidates of a rank, 1 to `ranks`."""

    ranks: int
    pairs: Callable[[int], list[Example]]


def asked_queries(source: Source, candidates: int) -> Queries:
    """The source's test queries with at most `candidates` items each.

    A source without frequencies gives the queries of its split `wild` in an order drawn by hash: that its traffic is Zipf is then assumed.
    Raises ValueError where it has none.
    """
    if isinstance(source, RankedSource):
        return Queries(source.ranks, lambda rank: source.candidates(rank, candidates))
    lists: dict[str, dict[str, Example]] = {}
    for example in source.examples("wild"):
        lists.setdefault(example.query_id, {}).setdefault(example.item_id, example)
    if not lists:
        raise ValueError(f"{source.name} has no pairs in wild: nothing is asked for")
    ordered = sorted(lists, key=_lot)
    return Queries(len(ordered), lambda rank: sorted(lists[ordered[rank - 1]].values(), key=lambda own: _lot(own.item_id))[:candidates])


def _lot(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def judged_ranks(ranks: int, per_octave: int) -> np.ndarray:
    """(j,) ascending: of each octave of the ranks 1 to `ranks`, `per_octave` at equal distances, or all where it has no more."""
    chosen: list[int] = []
    start = 1
    while start <= ranks:
        size = min(start, ranks - start + 1)
        count = min(size, per_octave)
        chosen += [start + place * size // count for place in range(count)]
        start *= 2
    return np.array(chosen)


def stand_ins(ranks: int, judged: np.ndarray) -> np.ndarray:
    """(ranks,) for each rank, at index rank - 1, the place in `judged` of the query that stands for it: itself, or one of its octave in turn."""
    every = np.arange(1, ranks + 1)
    octave, first = np.frexp(every)[1] - 1, np.frexp(judged)[1] - 1
    starts, sizes = np.searchsorted(first, np.arange(octave[-1] + 1)), np.bincount(first)
    places: np.ndarray = starts[octave] + (every - (1 << octave)) % sizes[octave]
    places[judged - 1] = np.arange(len(judged))
    return places


def zipf_log(ranks: int, exponent: float, requests: int, seed: int) -> np.ndarray:
    """(requests,) ranks asked for, each with probability in proportion to rank^-exponent."""
    sums = np.cumsum(np.arange(1, ranks + 1, dtype=float) ** -exponent)
    points = np.random.default_rng(seed).random(requests) * sums[-1]
    asked: np.ndarray = np.minimum(np.searchsorted(sums, points, side="right"), ranks - 1) + 1
    return asked

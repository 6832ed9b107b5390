"""Random draws that are the same bytes on every machine: a Mersenne twister seeded from a digest, floats only added and multiplied."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


def number(*parts: object) -> int:
    """A 64-bit number that depends on `parts` alone (never on Python's hash seed)."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "little")


class Draw(random.Random):
    """One generator, re-seeded for each example."""

    def restart(self, seed: int) -> None:
        """Seed with a number as `seed` does, without its look at other types: this is done for every example."""
        super(random.Random, self).seed(seed)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def weighted(self, cumulative: Sequence[float]) -> int:
        """Index of the first cumulative weight above a uniform draw; weights sum to their last entry."""
        point = self.random() * cumulative[-1]
        for index, bound in enumerate(cumulative):
            if point < bound:
                return index
        return len(cumulative) - 1

    def mix(self, options: list[T]) -> None:
        """Shuffle in place. `random.shuffle` is left aside because its draws are not promised across versions."""
        for index in range(len(options) - 1, 0, -1):
            other = int(self.random() * (index + 1))
            options[index], options[other] = options[other], options[index]


def cumulate(weights: Sequence[float]) -> tuple[float, ...]:
    total, sums = 0.0, []
    for weight in weights:
        total += weight
        sums.append(total)
    return tuple(sums)

"""In which order RL sees its prompts. Every order visits the same prompts, so that only the order differs between arms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def visit(count: int, needed: int, generator: np.random.Generator) -> np.ndarray:
    """`needed` indices below `count`: whole shuffled passes, the last one cut."""
    passes = [generator.permutation(count) for _ in range(-(-needed // count))]
    return np.concatenate(passes)[:needed]


def order(name: str, difficulty: Sequence[float], needed: int, seed: int) -> list[int]:
    """Indices into the pool in the order RL visits them.

    name: random | easy_to_hard | hard_to_easy. difficulty: 0..1 an example, nan where the source has none (refused unless random).
    needed: prompts the run will use. Ties keep the random order.
    """
    visited = visit(len(difficulty), needed, np.random.default_rng(seed))
    if name == "random":
        return visited.tolist()
    values = np.asarray(difficulty, dtype=float)[visited]
    if np.isnan(values).any():
        raise ValueError(
            f"curriculum={name} needs a difficulty for every example; {int(np.isnan(values).sum())} have none. Use curriculum=random"
        )
    ranks = np.argsort(values if name == "easy_to_hard" else -values, kind="stable")
    return visited[ranks].tolist()

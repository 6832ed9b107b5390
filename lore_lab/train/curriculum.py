"""In which order RL sees its prompts. Every order but the pass-rate window's visits the same prompts, so that only the order differs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def visit(count: int, needed: int, generator: np.random.Generator) -> np.ndarray:
    """`needed` indices below `count`: whole shuffled passes, the last one cut."""
    passes = [generator.permutation(count) for _ in range(-(-needed // count))]
    return np.concatenate(passes)[:needed]


def order(name: str, difficulty: Sequence[float], needed: int, seed: int, pools: int = 2, replay: float = 0.0) -> list[int]:
    """Indices into the pool in the order RL visits them.

    name: random | easy_to_hard | hard_to_easy | staged. difficulty: 0..1 an example, nan where there is none (refused unless random).
    needed: prompts the run will use. Ties keep the random order. pools, replay: see `staged`.
    """
    generator = np.random.default_rng(seed)
    visited = visit(len(difficulty), needed, generator)
    if name == "random":
        return visited.tolist()
    values = np.asarray(difficulty, dtype=float)[visited]
    if np.isnan(values).any():
        raise ValueError(
            f"curriculum={name} needs a difficulty for every example; {int(np.isnan(values).sum())} have none. "
            "Use curriculum=random, or curriculum.difficulty=measured"
        )
    ranks = np.argsort(-values if name == "hard_to_easy" else values, kind="stable")
    ranked = visited[ranks]
    return staged(ranked, pools, replay, generator).tolist() if name == "staged" else ranked.tolist()


def staged(ranked: np.ndarray, pools: int, replay: float, generator: np.random.Generator) -> np.ndarray:
    """Phases of equal length, one a pool, easiest pool first, shuffled inside.

    Without replay phase p visits pool p. With it, a share `replay` of phase p > 0 is drawn from earlier pools instead, and those of pool p
    that it displaces are not visited: phases keep their length.
    """
    phases = np.array_split(ranked, pools)
    result = []
    for number, pool in enumerate(phases):
        phase = generator.permutation(pool)
        if number and replay:
            earlier = np.concatenate(phases[:number])
            count = round(replay * len(phase))
            phase[:count] = generator.choice(earlier, size=count, replace=count > len(earlier))
            phase = generator.permutation(phase)
        result.append(phase)
    return np.concatenate(result)

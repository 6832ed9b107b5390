"""An adaptive curriculum: visit prompts whose chance-corrected pass rate lies in a window.

    q = max(0, (p - 1/g) / (1 - 1/g)),   p the running share of right labels, g the number of grades

With g grades a guess is right with 1/g, so p alone would call unlearned prompts half learned. Prompts never visited are inside the window;
when fewer are inside than a window needs, the nearest ones fill it. p starts from measured difficulty where there is one. Window after
DyKnow-RAG 2510.11122; running share and fill are assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler


def corrected(rate: np.ndarray, grades: int) -> np.ndarray:
    """Pass rates with chance taken out."""
    return np.maximum(0.0, (rate - 1 / grades) / (1 - 1 / grades))


class PassRateWindow(Sampler[int]):
    """Yields indices as TRL's RepeatSampler does: each `generations` times in a row, each generation batch `repeats` times.

    Decides as late as the loader asks. The loader fetches one batch ahead, so with repeats = 1 the newest window is not yet observed.
    A resumed run replays the recorded windows, then goes on from the recorded pass rates.
    """

    def __init__(
        self, size: int, windows: int, prompts: int, generations: int, repeats: int, grades: int,
        bounds: Sequence[float], memory: float, seed: int, start: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        """size: of the pool. prompts: of one window. start: pass rates known beforehand, nan where unknown."""
        self.size, self.windows, self.prompts, self.generations, self.repeats = size, windows, prompts, generations, repeats
        self.grades, self.bounds, self.memory, self.seed = grades, bounds, memory, seed
        self.rates = np.full(size, np.nan) if start is None else np.asarray(start, dtype=float)
        self.visits = np.zeros(size, dtype=int)
        self.order: list[list[int]] = []

    def __len__(self) -> int:
        return self.windows * self.prompts * self.generations * self.repeats

    def __iter__(self) -> Iterator[int]:
        for number in range(self.windows):
            if number == len(self.order):
                self.order.append(self._choose(number))
            for _ in range(self.repeats):
                for index in self.order[number]:
                    yield from [index] * self.generations

    def _choose(self, number: int) -> list[int]:
        """The next window's prompts: nearest to the window first (0 inside it), least visited first, then at random."""
        low, high = self.bounds
        quality = corrected(np.nan_to_num(self.rates, nan=1.0), self.grades)
        distance = np.where(np.isnan(self.rates), 0.0, np.maximum(low - quality, quality - high).clip(min=0.0))
        tie = np.random.default_rng([self.seed, number]).random(self.size)
        chosen = np.lexsort((tie, self.visits, distance))[: self.prompts]
        self.visits[chosen] += 1
        return [int(index) for index in chosen]

    def observe(self, indices: Sequence[int], correct: Sequence[bool]) -> None:
        """What became of a generation batch: one entry a completion."""
        for index in dict.fromkeys(indices):
            share = float(np.mean([right for place, right in zip(indices, correct, strict=True) if place == index]))
            old = self.rates[index]
            self.rates[index] = share if np.isnan(old) else self.memory * old + (1 - self.memory) * share

    def state(self) -> dict[str, Any]:
        return {"order": self.order, "rates": [None if np.isnan(rate) else rate for rate in self.rates], "visits": self.visits.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        self.order = [list(window) for window in state["order"]]
        self.rates = np.array([np.nan if rate is None else rate for rate in state["rates"]], dtype=float)
        self.visits = np.array(state["visits"], dtype=int)

"""Which tier answers a query: a function of how often it was asked in the last period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from lore_lab.data.example import Example
from lore_lab.data.leaks import normalise_query
from lore_lab.deploy.cache import AnswerCache, pair_key
from lore_lab.deploy.ranker import Ranker


class Tier(IntEnum):
    CACHE = 0
    RANKER = 1
    LLM = 2


@dataclass(frozen=True)
class Thresholds:
    """hot_from: least count of a query the cache answers; None: none. medium_from: least count the ranker answers; None: none, 0: every
    one. Raises ValueError where the ranker's would be the higher one."""

    hot_from: int | None
    medium_from: int | None

    def __post_init__(self) -> None:
        if self.hot_from is not None and self.medium_from is not None and self.medium_from > self.hot_from:
            raise ValueError(f"medium_from={self.medium_from} is above hot_from={self.hot_from}: the ranker would answer no query")

    def tiers(self, counts: np.ndarray) -> np.ndarray:
        """Tier of each count, of the counts' shape."""
        found = np.full(np.shape(counts), Tier.LLM, dtype=np.int8)
        for tier, least in ((Tier.RANKER, self.medium_from), (Tier.CACHE, self.hot_from)):
            if least is not None:
                found[np.asarray(counts) >= least] = tier
        return found

    @property
    def after_miss(self) -> Tier:
        """The next tier, which answers what the cache lacks."""
        return Tier.LLM if self.medium_from is None else Tier.RANKER


class Routed(NamedTuple):
    """Who answers a pair; probabilities (grades,), None where the LLM is still to be asked. asked: how often the query was, in the last period."""

    tier: Tier
    probabilities: np.ndarray | None
    asked: int


@dataclass(frozen=True)
class Router:
    """The tiers in front of the LLM. counts: normalised query -> requests in the last period; a query that is not there had none."""

    thresholds: Thresholds
    counts: Mapping[str, int]
    cache: AnswerCache
    ranker: Ranker

    def route(self, examples: Sequence[Example]) -> list[Routed]:
        counts = np.array([self.counts.get(normalise_query(example.query), 0) for example in examples], dtype=np.int64)
        tiers = self.thresholds.tiers(counts)
        answers: list[Any] = [None] * len(examples)
        hot = np.flatnonzero(tiers == Tier.CACHE).tolist()
        keys = [pair_key(examples[place], self.ranker.fields, self.ranker.query_fields) for place in hot]
        for place, answer in zip(hot, self.cache.lookup(keys), strict=True):
            answers[place] = answer
            tiers[place] = self.thresholds.after_miss if answer is None else Tier.CACHE
        medium = np.flatnonzero(tiers == Tier.RANKER).tolist()
        if medium:
            for place, answer in zip(medium, self.ranker.probabilities([examples[place] for place in medium]), strict=True):
                answers[place] = answer
        return [Routed(Tier(tier), answer, int(count)) for tier, answer, count in zip(tiers, answers, counts, strict=True)]

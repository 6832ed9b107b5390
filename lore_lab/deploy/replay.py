"""A log replayed against the tiers, vectorised: what the thresholds cost and what they give. Pure functions over arrays.

Quality is computed once for each judged pair and tier; the log weighs it. A request's own time is drawn from the times measured for its tier.
Modelled, not measured: arrivals are Poisson, one LLM serves one request after another, cache and ranker never make anybody wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lore_lab.deploy.router import Thresholds, Tier
from lore_lab.evaluate.metrics import INVALID, from_confusion
from lore_lab.evaluate.ranking import expected_grade

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Judged:
    """The judged pairs. query: (n,) place of the pair's query, ascending. gold: (n,). llm, ranker: (n, grades) label probabilities, a
    row of nan without a valid answer. tokens: (n,) what the LLM's answer took."""

    query: np.ndarray
    gold: np.ndarray
    llm: np.ndarray
    ranker: np.ndarray
    tokens: np.ndarray

    @property
    def queries(self) -> int:
        return int(self.query[-1]) + 1

    @property
    def tokens_by_query(self) -> np.ndarray:
        return np.bincount(self.query, weights=self.tokens, minlength=self.queries)

    def cached(self, known: np.ndarray, after_miss: Tier) -> np.ndarray:
        """(n, grades) what the hot tier says where the cache has the pairs `known` (n,): the next tier answers the others."""
        return np.where(known[:, None], self.llm, self.llm if after_miss == Tier.LLM else self.ranker)


@dataclass(frozen=True)
class Quality:
    """By judged query: confusion (queries, grades, grades + 1); good (queries,), 1 where its best items are all relevant, else 0."""

    confusion: np.ndarray
    good: np.ndarray


def quality(judged: Judged, probabilities: np.ndarray, relevant_from: int, top: int) -> Quality:
    """What a judge with these label probabilities does to each query. A pair without an answer counts as wrong, and stands in the ranking
    where the mean of the answered pairs does."""
    grades = probabilities.shape[1]
    answered = ~np.isnan(probabilities[:, 0])
    predicted, score = np.full(len(answered), INVALID), np.zeros(len(answered))
    if answered.any():
        predicted[answered] = probabilities[answered].argmax(axis=1)
        score[answered] = expected_grade(probabilities[answered])
        score[~answered] = score[answered].mean()
    confusion = np.zeros((judged.queries, grades, grades + 1), dtype=np.int64)
    np.add.at(confusion, (judged.query, judged.gold, np.where(predicted == INVALID, grades, predicted)), 1)
    return Quality(confusion, _good(judged, score, relevant_from, top))


def _good(judged: Judged, score: np.ndarray, relevant_from: int, top: int) -> np.ndarray:
    """(queries,) whether the `top` items by score are all relevant; of a query with fewer items, all of them."""
    order = np.lexsort((-score, judged.query))  # stable: items of one score stay in the source's order, which knows no label
    sizes = np.bincount(judged.query, minlength=judged.queries)
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    bad = (judged.gold[order] < relevant_from) & (place < top)
    return (np.bincount(judged.query[order], weights=bad, minlength=judged.queries) == 0).astype(float)


def best_good_rate(judged: Judged, traffic: Traffic, relevant_from: int, top: int) -> float:
    """GoodRate of a judge that ranks by gold: queries with too few relevant items are lost to every judge."""
    return float(np.average(_good(judged, judged.gold.astype(float), relevant_from, top), weights=traffic.weights(judged.queries)))


@dataclass(frozen=True)
class Traffic:
    """The requests of a period. query: (requests,) judged query that stands for the one asked. count: (requests,) how often the query
    asked was asked in the period before. filled: judged query and count of every query asked in the period before, (2, distinct)."""

    query: np.ndarray
    count: np.ndarray
    filled: np.ndarray

    @classmethod
    def of(cls, ranks: int, stands_for: np.ndarray, before: np.ndarray, now: np.ndarray) -> Traffic:
        """before, now: ranks asked for in two periods. stands_for: judged query by rank - 1."""
        counts = np.bincount(before - 1, minlength=ranks)
        asked = np.flatnonzero(counts)
        return cls(stands_for[now - 1], counts[now - 1], np.stack([stands_for[asked], counts[asked]]))

    def weights(self, queries: int) -> np.ndarray:
        """(queries,) requests by judged query."""
        return np.bincount(self.query, minlength=queries)


@dataclass(frozen=True)
class Latency:
    """own: (tiers, requests) seconds a request takes in each tier, drawn from what was measured. arrivals: (requests,) seconds."""

    own: np.ndarray
    arrivals: np.ndarray

    @classmethod
    def draw(cls, measured: Mapping[str, np.ndarray], requests: int, load: float, seed: int) -> Latency:
        """measured: seconds a request, by tier's name. load: arrivals in what one LLM alone could serve."""
        generator = np.random.default_rng(seed)
        own = np.stack([generator.choice(np.asarray(measured[tier.name.lower()]), requests) for tier in Tier])
        gap = own[Tier.LLM].mean() / load
        return cls(own, np.cumsum(generator.exponential(gap, requests)))

    def of(self, tiers: np.ndarray) -> np.ndarray:
        """(requests,) seconds from arrival to answer, the wait for the LLM included."""
        seconds = np.take_along_axis(self.own, tiers[None].astype(np.int64), axis=0)[0]
        llm = np.flatnonzero(tiers == Tier.LLM)
        seconds[llm] += waits(self.arrivals[llm], self.own[Tier.LLM, llm])
        return seconds


def waits(arrivals: np.ndarray, service: np.ndarray) -> np.ndarray:
    """(n,) seconds each request waits for one server, first come first served (Lindley 1952): the sums' rise above their lowest so far."""
    sums = np.concatenate([[0.0], np.cumsum(service[:-1] - np.diff(arrivals))])[: len(arrivals)]
    result: np.ndarray = sums - np.minimum.accumulate(sums)
    return result


def splits(traffic: Traffic) -> Iterator[Thresholds]:
    """Every pair of thresholds at powers of two up to the highest count, with none and all."""
    steps: list[int] = [1 << octave for octave in range(int(traffic.count.max(initial=0)).bit_length())]
    for hot in (None, *steps):
        yield Thresholds(hot, None)
        for medium in (0, *(step for step in steps if hot is None or step < hot)):
            yield Thresholds(hot, medium)


@dataclass(frozen=True)
class Replay:
    """One period replayed under any thresholds."""

    judged: Judged
    traffic: Traffic
    latency: Latency
    relevant_from: int
    top: int
    distilled: int  #: tokens the LLM spent on the ranker's training pairs

    def measures(self, thresholds: Thresholds, known: np.ndarray | None = None) -> dict[str, float]:
        """Quality, cost in units of the LLM answering every request, shares of the tiers; all without a clock.

        known: (n,) pairs the cache has; None: all that have an answer.
        """
        known = self._whole if known is None else known
        tiers, queries, tokens = thresholds.tiers(self.traffic.count), self.judged.queries, self.judged.tokens_by_query
        weights = (
            np.bincount(self.traffic.query * len(Tier) + tiers, minlength=queries * len(Tier)).reshape(queries, len(Tier)).astype(float)
        )
        sources = (self.judged.cached(known, thresholds.after_miss), self.judged.ranker, self.judged.llm)
        found = [quality(self.judged, source, self.relevant_from, self.top) for source in sources]
        confusion = sum(np.tensordot(weights[:, tier], found[tier].confusion, axes=1) for tier in Tier)
        judge = from_confusion(np.asarray(confusion), self.relevant_from)
        good = sum(float(weights[:, tier] @ found[tier].good) for tier in Tier) / len(tiers)
        alone = float(tokens @ weights.sum(axis=1))
        online, offline = self._online(thresholds, weights, known) / alone, self._offline(thresholds) / alone
        return (
            {"good_rate": good}
            | {name: float(judge[name]) for name in ("acc@4", "acc@2", "macro_f1", "invalid_rate")}
            | {"cost": online + offline, "cost/online": online, "cost/offline": offline}
            | {f"share/{tier.name.lower()}": float(weights[:, tier].sum() / len(tiers)) for tier in Tier}
        )

    @property
    def _whole(self) -> np.ndarray:
        return ~np.isnan(self.judged.llm[:, 0])

    def _online(self, thresholds: Thresholds, weights: np.ndarray, known: np.ndarray) -> float:
        """Tokens of the tail, and of hot pairs the cache lacks where the LLM is the next tier."""
        tail = float(self.judged.tokens_by_query @ weights[:, Tier.LLM])
        if thresholds.after_miss != Tier.LLM:
            return tail
        missed = np.bincount(self.judged.query, weights=self.judged.tokens * ~known, minlength=self.judged.queries)
        return tail + float(missed @ weights[:, Tier.CACHE])

    def _offline(self, thresholds: Thresholds) -> float:
        """Tokens of filling the cache once for the period, and of the ranker's targets."""
        query, count = self.traffic.filled
        hot = query[count >= thresholds.hot_from] if thresholds.hot_from is not None else query[:0]
        return float(self.judged.tokens_by_query[hot].sum()) + (self.distilled if thresholds.medium_from is not None else 0)

    def milliseconds(self, thresholds: Thresholds, known: np.ndarray | None = None) -> dict[str, float]:
        """Percentiles of the time to an answer: measured times of the tiers, modelled waits. A hot request of which the cache lacks a pair
        takes the next tier's time."""
        known = self._whole if known is None else known
        missing = np.bincount(self.judged.query, weights=~known, minlength=self.judged.queries) > 0
        tiers = thresholds.tiers(self.traffic.count)
        tiers[(tiers == Tier.CACHE) & missing[self.traffic.query]] = thresholds.after_miss
        values = np.percentile(self.latency.of(tiers), PERCENTILES) * 1e3
        return {f"p{percent}_ms": float(value) for percent, value in zip(PERCENTILES, values, strict=True)}

    def frontier(self) -> list[dict[str, Any]]:
        """A row for each of `splits`: hot_from, medium_from, measures, milliseconds."""
        rows = []
        for thresholds in splits(self.traffic):
            chosen: dict[str, Any] = {"hot_from": thresholds.hot_from, "medium_from": thresholds.medium_from}
            rows.append(chosen | self.measures(thresholds) | self.milliseconds(thresholds))
        return rows


def pareto(cost: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """(n,) whether no other row costs as little and is worth more, nor costs less and is worth as much."""
    order = np.lexsort((-worth, cost))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], worth[order][:-1]]))
    kept = np.zeros(len(cost), dtype=bool)
    kept[order] = worth[order] > best
    return kept

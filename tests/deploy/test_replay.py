"""The replay against the same thing done request by request, in plain Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from lore_lab.deploy.replay import Judged, Latency, Replay, Traffic, best_good_rate, pareto, splits, waits
from lore_lab.deploy.router import Thresholds, Tier
from lore_lab.deploy.traffic import judged_ranks, stand_ins, zipf_log

GRADES, RANKS, REQUESTS, TOP = 4, 200, 400, 2
SPLITS = [Thresholds(None, None), Thresholds(None, 0), Thresholds(4, None), Thresholds(8, 2), Thresholds(1, 0), Thresholds(3, 3)]
MEASURED = {"cache": [0.001, 0.002], "ranker": [0.01], "llm": [0.1, 0.3]}


def chances(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.dirichlet(np.ones(GRADES), count)


@pytest.fixture(scope="module")
def judged() -> Judged:
    """Two to four pairs a query; the LLM has no answer to some."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(2, 5, len(judged_ranks(RANKS, 6)))
    query = np.repeat(np.arange(len(sizes)), sizes)
    llm = chances(generator, len(query))
    llm[generator.random(len(query)) < 0.1] = np.nan
    gold = generator.integers(0, GRADES, len(query))
    return Judged(query, gold, llm, chances(generator, len(query)), generator.integers(5, 60, len(query)))


@pytest.fixture(scope="module")
def logs() -> tuple[np.ndarray, np.ndarray]:
    return zipf_log(RANKS, 1.0, REQUESTS, 1), zipf_log(RANKS, 1.0, REQUESTS, 2)


@pytest.fixture(scope="module")
def replay(judged: Judged, logs: tuple[np.ndarray, np.ndarray]) -> Replay:
    traffic = Traffic.of(RANKS, stand_ins(RANKS, judged_ranks(RANKS, 6)), *logs)
    return Replay(judged, traffic, Latency.draw(MEASURED, REQUESTS, 0.8, 5), relevant_from=2, top=TOP, distilled=1000)


class Slow:
    """Every request by itself."""

    def __init__(self, judged: Judged, logs: tuple[np.ndarray, np.ndarray], chosen: Thresholds, known: np.ndarray) -> None:
        self.judged, self.chosen, self.known = judged, chosen, known
        self.stand = stand_ins(RANKS, judged_ranks(RANKS, 6))
        self.before = {rank: int((logs[0] == rank).sum()) for rank in range(1, RANKS + 1)}
        self.now = logs[1].tolist()

    def tier(self, rank: int) -> Tier:
        count = self.before[rank]
        if self.chosen.hot_from is not None and count >= self.chosen.hot_from:
            return Tier.CACHE
        return Tier.RANKER if self.chosen.medium_from is not None and count >= self.chosen.medium_from else Tier.LLM

    def pairs(self, rank: int) -> list[int]:
        return np.flatnonzero(self.judged.query == self.stand[rank - 1]).tolist()

    def chances(self, tier: Tier, pair: int) -> np.ndarray:
        if tier == Tier.CACHE and not self.known[pair]:
            tier = Tier.RANKER if self.chosen.medium_from is not None else Tier.LLM
        return self.judged.ranker[pair] if tier == Tier.RANKER else self.judged.llm[pair]

    def score(self, tier: Tier, pair: int) -> float:
        """The grade expected; without an answer the mean of what this tier answers at all."""
        own = self.chances(tier, pair)
        if np.isnan(own[0]):
            others = [self.chances(tier, other) for other in range(len(self.judged.gold))]
            return float(np.mean([other @ np.arange(GRADES) for other in others if not np.isnan(other[0])]))
        return float(own @ np.arange(GRADES))

    def answers(self) -> Iterator[tuple[int, int]]:
        for rank in self.now:
            for pair in self.pairs(rank):
                own = self.chances(self.tier(rank), pair)
                yield int(self.judged.gold[pair]), -1 if np.isnan(own[0]) else int(own.argmax())

    def good(self) -> float:
        found = []
        for rank in self.now:
            best = sorted(self.pairs(rank), key=lambda pair: -self.score(self.tier(rank), pair))[:TOP]
            found.append(all(self.judged.gold[pair] >= 2 for pair in best))
        return sum(found) / len(found)

    def cost(self, distilled: int) -> tuple[float, float]:
        """(online, offline)"""

        def tokens(pairs: list[int]) -> int:
            return sum(int(self.judged.tokens[pair]) for pair in pairs)

        alone = sum(tokens(self.pairs(rank)) for rank in self.now)
        online = sum(tokens(self.pairs(rank)) for rank in self.now if self.tier(rank) == Tier.LLM)
        if self.chosen.medium_from is None:
            missed = [[pair for pair in self.pairs(rank) if not self.known[pair]] for rank in self.now if self.tier(rank) == Tier.CACHE]
            online += sum(map(tokens, missed))
        hot = [rank for rank, count in self.before.items() if self.chosen.hot_from is not None and count >= self.chosen.hot_from]
        offline = sum(tokens(self.pairs(rank)) for rank in hot) + (distilled if self.chosen.medium_from is not None else 0)
        return online / alone, offline / alone


@pytest.mark.parametrize("chosen", SPLITS, ids=str)
@pytest.mark.parametrize("lost", [0.0, 0.4, 1.0])
def test_quality_cost_and_shares_are_those_of_every_request_by_itself(
    replay: Replay, judged: Judged, logs, chosen: Thresholds, lost: float
) -> None:  # type: ignore[no-untyped-def]
    known = ~np.isnan(judged.llm[:, 0]) & (np.random.default_rng(9).random(len(judged.gold)) >= lost)
    slow = Slow(judged, logs, chosen, known)
    found = replay.measures(chosen, known)
    gold, predicted = zip(*slow.answers(), strict=True)
    assert found["acc@4"] == pytest.approx(accuracy_score(gold, predicted))
    assert found["acc@2"] == pytest.approx(
        np.mean([answer >= 0 and (right >= 2) == (answer >= 2) for right, answer in zip(gold, predicted, strict=True)])
    )
    assert found["macro_f1"] == pytest.approx(f1_score(gold, predicted, labels=sorted(set(gold)), average="macro", zero_division=0))
    assert found["invalid_rate"] == pytest.approx(np.mean(np.array(predicted) == -1))
    assert found["good_rate"] == pytest.approx(slow.good())
    online, offline = slow.cost(replay.distilled)
    assert found["cost/online"] == pytest.approx(online)
    assert found["cost/offline"] == pytest.approx(offline)
    assert found["cost"] == pytest.approx(online + offline)
    for tier in Tier:
        assert found[f"share/{tier.name.lower()}"] == pytest.approx(np.mean([slow.tier(rank) == tier for rank in slow.now]))


def test_the_llm_alone_costs_one(replay: Replay) -> None:
    found = replay.measures(Thresholds(None, None))
    assert (found["cost"], found["share/llm"]) == (1.0, 1.0)


def test_nobody_beats_a_ranking_by_gold(replay: Replay, judged: Judged) -> None:
    best = best_good_rate(judged, replay.traffic, 2, TOP)
    rows = pd.DataFrame(replay.frontier())
    assert 0 < rows["good_rate"].max() <= best < 1


@given(st.lists(st.tuples(st.floats(0.001, 5), st.floats(0, 5)), max_size=60))
def test_waits_are_those_of_a_queue_served_one_by_one(steps: list[tuple[float, float]]) -> None:
    arrivals, service = np.cumsum([gap for gap, _ in steps]), np.array([own for _, own in steps])
    free, expected = 0.0, []
    for arrival, own in zip(arrivals, service, strict=True):
        expected.append(max(0.0, free - arrival))
        free = max(free, arrival) + own
    assert waits(arrivals, service) == pytest.approx(expected, abs=1e-9)


def test_a_random_load_waits_as_theory_says() -> None:
    """Mean wait in a queue with constant service and Poisson arrivals at load 0.5: half a service time (Pollaczek-Khinchine)."""
    latency = Latency.draw({"cache": [0.0], "ranker": [0.0], "llm": [1.0]}, 400_000, 0.5, 3)
    everything = np.full(400_000, Tier.LLM, dtype=np.int8)
    assert latency.of(everything).mean() == pytest.approx(1.5, abs=0.02)


def test_time_to_an_answer_is_the_tiers_own_time_and_the_wait_for_the_llm(replay: Replay) -> None:
    latency = replay.latency
    tiers = Thresholds(4, 2).tiers(replay.traffic.count)
    assert {int(tier) for tier in tiers} == {0, 1, 2}
    seconds = latency.of(tiers)
    for tier in (Tier.CACHE, Tier.RANKER):
        assert np.array_equal(seconds[tiers == tier], latency.own[tier][tiers == tier])
        assert set(latency.own[tier]) == set(MEASURED[tier.name.lower()])
    llm = tiers == Tier.LLM
    assert seconds[llm] == pytest.approx(latency.own[Tier.LLM][llm] + waits(latency.arrivals[llm], latency.own[Tier.LLM][llm]))
    assert (seconds[llm] > latency.own[Tier.LLM][llm]).any()


def test_a_hot_request_that_misses_takes_the_next_tiers_time(replay: Replay, judged: Judged) -> None:
    nothing = np.zeros(len(judged.gold), dtype=bool)
    assert replay.milliseconds(Thresholds(1, 0), nothing) == replay.milliseconds(Thresholds(None, 0))
    assert replay.milliseconds(Thresholds(1, None), nothing) == replay.milliseconds(Thresholds(None, None))


def test_the_splits_are_all_pairs_of_powers_of_two_once_each(replay: Replay) -> None:
    found = [(own.hot_from, own.medium_from) for own in splits(replay.traffic)]
    highest = int(replay.traffic.count.max())
    steps = [1 << n for n in range(highest.bit_length())]
    assert len(found) == len(set(found)) == (1 + 1 + len(steps)) + sum(2 + place for place in range(len(steps)))
    assert steps[-1] <= highest < 2 * steps[-1]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_the_frontier_is_what_nothing_else_beats(rows: list[tuple[int, int]]) -> None:
    cost, worth = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    kept = pareto(cost, worth)
    for place, (own, value) in enumerate(rows):
        beaten = any((c <= own and w > value) or (c < own and w >= value) for c, w in rows)
        assert not (kept[place] and beaten)
    best = {row for row in rows if not any((c <= row[0] and w > row[1]) or (c < row[0] and w >= row[1]) for c, w in rows)}
    assert {rows[place] for place in np.flatnonzero(kept)} == best

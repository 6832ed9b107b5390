"""Queries by rank: Zipf's law, octaves judged by samples, candidates of the world and of tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore_lab.config.schema import Config
from lore_lab.data.example import Example
from lore_lab.data.world import WorldSource
from lore_lab.deploy.traffic import asked_queries, judged_ranks, stand_ins, zipf_log


@given(st.integers(1, 3000), st.integers(1, 40))
def test_every_rank_is_stood_for_by_one_of_its_octave_and_the_judged_by_themselves(ranks: int, per_octave: int) -> None:
    judged = judged_ranks(ranks, per_octave)
    places = stand_ins(ranks, judged)
    assert len(places) == ranks
    for rank, place in enumerate(places.tolist(), start=1):
        assert int(judged[place]).bit_length() == rank.bit_length()
    assert places[judged - 1].tolist() == list(range(len(judged)))
    assert (np.diff(judged) > 0).all()
    sizes = Counter(int(rank).bit_length() for rank in range(1, ranks + 1))
    assert Counter(int(rank).bit_length() for rank in judged) == {octave: min(size, per_octave) for octave, size in sizes.items()}


def test_those_who_stand_for_others_share_their_octave_evenly() -> None:
    judged = judged_ranks(1023, 8)
    shares = Counter(stand_ins(1023, judged)[511:].tolist())
    assert len(shares) == 8
    assert max(shares.values()) - min(shares.values()) <= 8


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.4])
def test_a_log_follows_zipfs_law(exponent: float) -> None:
    """Chi-squared of 50 ranks over 200,000 requests: 49 degrees of freedom, 99.9 % below 85."""
    counts = np.bincount(zipf_log(50, exponent, 200_000, seed=1), minlength=51)[1:]
    weights = np.arange(1, 51) ** -exponent
    expected = 200_000 * weights / weights.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 85


def test_a_log_is_its_seed() -> None:
    assert np.array_equal(zipf_log(1000, 1.0, 500, 3), zipf_log(1000, 1.0, 500, 3))
    assert not np.array_equal(zipf_log(1000, 1.0, 500, 3), zipf_log(1000, 1.0, 500, 4))


@pytest.fixture
def world(compose: Callable[..., Config]) -> WorldSource:
    return WorldSource(compose().data)


def test_the_world_gives_one_test_query_a_rank_with_items_of_its_own(world: WorldSource) -> None:
    queries = asked_queries(world, 5)
    assert queries.ranks == 2**20 - 1
    trained = {example.query for example in world.examples("train", 0, 500)}
    for rank, band in ((1, "head"), (127, "head"), (128, "torso"), (2**14, "tail"), (queries.ranks, "tail")):
        own = queries.pairs(rank)
        assert len(own) == len({example.item_id for example in own}) == 5
        assert len({(example.query, example.frequency) for example in own}) == 1
        assert own[0].frequency == band
        assert own[0].query not in trained
        assert own == WorldSource(world.config).candidates(rank, 5)
        assert own[:3] == queries_of(world, rank, 3)


def queries_of(world: WorldSource, rank: int, count: int) -> list[Example]:
    return asked_queries(world, count).pairs(rank)


def test_the_worlds_candidates_are_judged_by_its_rules(world: WorldSource) -> None:
    from lore_lab.data.world.oracle import Oracle

    oracle = Oracle(world.tables)
    pairs = [example for rank in (1, 9, 300, 5000, 700_000) for example in world.candidates(rank, 4)]
    assert [oracle.grade(example) for example in pairs] == [example.gold for example in pairs]
    assert len({example.gold for example in pairs}) > 1


class Rated:
    """A source without frequencies."""

    name, grades, relevant_from = "rated", ("no", "yes"), 1

    def __init__(self, rows: list[tuple[str, str]]) -> None:
        self.rows = rows

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        assert split == "wild"
        yield from (Example(f"w-{n}", query, item, query, {"title": item}, 0, 0, 0.0) for n, (query, item) in enumerate(self.rows))


def test_a_table_gives_the_queries_of_its_test_split_whatever_their_order() -> None:
    rows = [(f"q{n % 7}", f"i{n % 11}") for n in range(60)]
    sources: list[Any] = [Rated(rows), Rated(rows[::-1])]
    lists = [[[own.item_id for own in asked_queries(source, 4).pairs(rank)] for rank in range(1, 8)] for source in sources]
    assert lists[0] == lists[1]
    assert all(len(set(own)) == len(own) == 4 for own in lists[0])
    with pytest.raises(ValueError, match="no pairs in wild"):
        asked_queries(Rated([]), 4)  # type: ignore[arg-type]

"""Which tier answers: thresholds as properties, and what falls through when the cache has nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore_lab.data.example import Example
from lore_lab.deploy.cache import AnswerCache, fill, pair_key
from lore_lab.deploy.ranker import Ranker
from lore_lab.deploy.router import Router, Thresholds, Tier

BOUND = st.none() | st.integers(0, 50)
COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=30)


def thresholds(hot: int | None, medium: int | None) -> Thresholds:
    """Any two bounds, in their order."""
    if hot is not None and medium is not None:
        hot, medium = max(hot, medium), min(hot, medium)
    return Thresholds(hot, medium)


@given(BOUND, BOUND, COUNTS)
def test_each_count_has_the_tier_its_bounds_say(hot: int | None, medium: int | None, counts: list[int]) -> None:
    chosen = thresholds(hot, medium)
    for count, tier in zip(counts, chosen.tiers(np.array(counts)), strict=True):
        if chosen.hot_from is not None and count >= chosen.hot_from:
            assert tier == Tier.CACHE
        elif chosen.medium_from is not None and count >= chosen.medium_from:
            assert tier == Tier.RANKER
        else:
            assert tier == Tier.LLM


@given(BOUND, BOUND, COUNTS)
def test_a_query_asked_more_never_gets_a_later_tier(hot: int | None, medium: int | None, counts: list[int]) -> None:
    assert (np.diff(thresholds(hot, medium).tiers(np.sort(counts))) <= 0).all()


@given(BOUND, BOUND, BOUND, COUNTS)
def test_lowering_a_bound_takes_work_from_the_llm_only(hot: int | None, medium: int | None, lower: int | None, counts: list[int]) -> None:
    before = thresholds(hot, medium)
    least = [bound for bound in (before.medium_from, lower) if bound is not None]
    after = Thresholds(before.hot_from, min(least)) if least and (before.hot_from is None or min(least) <= before.hot_from) else before
    tiers, moved = before.tiers(np.array(counts)), after.tiers(np.array(counts))
    assert set(zip(tiers[tiers != moved], moved[tiers != moved], strict=True)) <= {(Tier.LLM, Tier.RANKER)}


def test_a_rankers_bound_above_the_caches_is_refused() -> None:
    with pytest.raises(ValueError, match="medium_from=9 is above hot_from=8"):
        Thresholds(8, 9)


def pair(query: str, title: str) -> Example:
    return Example("a", "q", "i", query, {"title": title}, 0, 0, 0.0)


HOT, MEDIUM, RARE, NEW = (pair(query, "dress") for query in ("Hot  Dress", "medium dress", "rare dress", "never asked"))
CACHED = np.array([0.1, 0.2, 0.3, 0.4])
SMALL = Ranker(np.random.default_rng(0).normal(size=(64, 4)), np.zeros(4), ("title",), ())


def router(path: Path, chosen: Thresholds, version: str = "v1") -> Router:
    return Router(chosen, {"hot dress": 100, "medium dress": 10, "rare dress": 1}, AnswerCache(path, version, 4), SMALL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "c.sqlite", "v1", [(pair_key(HOT, ["title"], []), CACHED)])
    return tmp_path / "c.sqlite"


def test_each_tier_answers_what_is_its_own(path: Path) -> None:
    routed = router(path, Thresholds(50, 5)).route([RARE, HOT, MEDIUM, NEW])
    assert [answer.tier for answer in routed] == [Tier.LLM, Tier.CACHE, Tier.RANKER, Tier.LLM]
    assert [answer.asked for answer in routed] == [1, 100, 10, 0]
    assert routed[0].probabilities is None
    assert routed[3].probabilities is None
    assert np.array_equal(routed[1].probabilities, CACHED)
    assert np.array_equal(routed[2].probabilities, SMALL.probabilities([MEDIUM])[0])


@pytest.mark.parametrize(("chosen", "next_tier"), [(Thresholds(50, 5), Tier.RANKER), (Thresholds(50, None), Tier.LLM)])
@pytest.mark.parametrize("state", ["empty", "stale", "damaged"])
def test_what_the_cache_lacks_falls_to_the_next_tier_and_is_counted(path: Path, chosen: Thresholds, next_tier: Tier, state: str) -> None:
    if state == "empty":
        path.unlink()
    elif state == "damaged":
        path.write_bytes(b"\xff" * 8192)
    own = router(path, chosen, "v2" if state == "stale" else "v1")
    (answer,) = own.route([HOT])
    assert answer.tier == next_tier
    assert (answer.probabilities is None) == (next_tier == Tier.LLM)
    assert own.cache.counts[{"empty": "absent"}.get(state, state)] == 1


def test_an_item_whose_text_was_edited_is_no_hit(path: Path) -> None:
    (answer,) = router(path, Thresholds(50, 5)).route([pair("Hot  Dress", "dress, now longer")])
    assert answer.tier == Tier.RANKER

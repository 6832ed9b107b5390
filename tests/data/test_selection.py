"""LREF's filters and samples, each against its definition."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest

from lore_lab.data.example import FREQUENCIES, Example
from lore_lab.data.selection import balanced_sample, confusable, folds, passes, random_sample, thin

RNG = random.Random


def pairs(count: int = 90, bands: tuple[str, ...] = ("head", "head", "head", "torso", "torso", "tail")) -> list[Example]:
    """Three pairs a query; more head than tail."""
    return [
        Example(f"train-{n}", f"q{n // 3}", f"i{n}", "shoe", {}, n % 4, n % 4, 0.5, frequency=bands[n % len(bands)])  # type: ignore[arg-type]
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_folds_keep_a_query_together_and_are_of_like_size(count: int) -> None:
    examples = pairs()
    part = folds(examples, count, RNG(0))
    assert set(part) == set(range(count))
    assert all(len(set(part[[n for n, example in enumerate(examples) if example.query_id == query]])) == 1 for query in ("q0", "q7", "q29"))
    queries = Counter({example.query_id: own for example, own in zip(examples, part, strict=True)}.values())
    assert max(queries.values()) - min(queries.values()) <= 1
    assert (folds(examples, count, RNG(0)) == part).all()
    assert count == 1 or (folds(examples, count, RNG(1)) != part).any()


def test_a_random_sample_takes_what_is_allowed_once() -> None:
    sample = random_sample(pairs(), range(10, 60), 20, RNG(0))
    assert len(set(sample)) == 20
    assert set(sample) <= set(range(10, 60))
    assert sorted(random_sample(pairs(), [3, 4], 20, RNG(0))) == [3, 4]


@pytest.mark.parametrize(("size", "each"), [(30, 10), (31, 10), (900, 15), (1, 1)])
def test_ci_sees_each_band_equally_often_and_no_pair_twice(size: int, each: int) -> None:
    examples = pairs()
    sample = balanced_sample(examples, range(90), size, RNG(0))
    assert Counter(examples[place].frequency for place in sample) == dict.fromkeys(FREQUENCIES, each)
    assert len(set(sample)) == len(sample)


def test_ci_needs_every_band() -> None:
    with pytest.raises(ValueError, match="no pair of head or tail queries: take selection=im"):
        balanced_sample(pairs(bands=("torso",)), range(90), 30, RNG(0))


def test_ms_learns_the_likeliest_label_beside_the_observed_one() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.0, 0.0, 1.0]])
    assert confusable(probabilities, np.array([0, 1, 2, 2])).tolist() == [1, 0, 1, 0]
    assert probabilities[0, 0] == 0.5


@pytest.mark.parametrize("sign", ["differs", "agrees"])
def test_a_pair_stays_by_lrefs_formula(sign: str) -> None:
    """Every combination of an observed label and three verdicts over three grades."""
    table = np.array(list(itertools.product(range(3), repeat=4)))
    label, im, ci, ms = table.T
    found = passes(label, {"im": im, "ci": ci, "ms": ms}, sign)
    kept = [bool(c == own and i != own and ((m != own) if sign == "differs" else (m == own))) for own, i, c, m in table.tolist()]
    assert np.all(list(found.values()), axis=0).tolist() == kept
    assert any(kept)
    assert found["im"].tolist() == (im != label).tolist()
    assert set(passes(label, {"ci": ci}, sign)) == {"ci"}


def test_thinning_draws_without_order_or_repetition() -> None:
    places = np.arange(50) * 2
    few = thin(places, 10, RNG(0))
    assert len(few) == 10
    assert (np.diff(few) > 0).all()
    assert set(few) <= set(places)
    assert thin(places, 50, RNG(0)).tolist() == places.tolist()
    assert thin(places, 10, RNG(1)).tolist() != few.tolist()

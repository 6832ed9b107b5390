"""Statistics against hand-computed numbers, scipy and statsmodels, and their properties."""

import math

import numpy as np
import pytest
import scipy.stats as ss
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from lore_lab.analysis.stats import (
    holm,
    holm_levels,
    paired_differences,
    power_difference,
    power_equivalence,
    probability_of_improvement,
    seeds_to_settle,
    t_interval,
    t_test,
    wilson_interval,
)

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=8)
numbers = st.lists(st.floats(-10, 10), min_size=2, max_size=12)


def test_the_t_interval_by_hand() -> None:
    # 1..5: mean 3, sd sqrt(2.5), half width 2.7764 * sqrt(2.5 / 5) = 1.9632
    estimate = t_interval([1, 2, 3, 4, 5])
    assert estimate.mean == 3
    assert estimate.n == 5
    assert estimate.sd == pytest.approx(math.sqrt(2.5))
    assert estimate.high - 3 == pytest.approx(1.9632, abs=1e-4)
    assert (estimate.low, estimate.high) == pytest.approx(ss.t.interval(0.95, 4, 3, math.sqrt(0.5)))


def test_one_value_knows_nothing_and_no_spread_knows_all() -> None:
    assert t_interval([0.3])[1:3] == (-math.inf, math.inf)
    assert t_interval([0.61 - 0.58, 0.71 - 0.68])[1:4] == pytest.approx((0.03, 0.03, 0.0))
    for bad in ([], [1, math.nan], [[1, 2]]):
        with pytest.raises(ValueError):
            t_interval(bad)


@given(numbers)
def test_the_t_test_equals_scipys(values: list[float]) -> None:
    if np.ptp(values) < 1e-6:
        return
    below, above = t_test(values, 0.1)
    assert below == pytest.approx(ss.ttest_1samp(values, 0.1, alternative="less").pvalue, abs=1e-12)
    assert above == pytest.approx(ss.ttest_1samp(values, 0.1, alternative="greater").pvalue, abs=1e-12)


def test_the_t_test_without_spread() -> None:
    assert t_test([1, 1, 1]) == (1.0, 0.0)
    assert t_test([0, 0]) == (0.5, 0.5)
    assert t_test([-1, -1]) == (0.0, 1.0)


@given(p_lists)
@settings(max_examples=10, deadline=None)  # statsmodels takes a tenth of a second a call
def test_holm_equals_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_levels_by_hand() -> None:
    # 0.01 <= 0.05/3, 0.02 <= 0.05/2, 0.2 > 0.05: the last is tested at 0.05
    assert holm_levels([0.2, 0.01, 0.02]) == pytest.approx([0.05, 0.05 / 3, 0.05 / 2])
    # 0.03 > 0.05/3: all stop there, though 0.04 alone would pass at 0.05
    assert holm_levels([0.04, 0.03, 0.035]) == pytest.approx([0.05 / 3] * 3)


@given(p_lists)
def test_a_p_value_is_under_its_level_exactly_where_holm_rejects(p: list[float]) -> None:
    rejected = holm(p) <= 0.05
    near = np.isclose(holm(p), 0.05, rtol=1e-9)  # the two roundings may differ on the edge itself
    assert (((np.asarray(p) <= holm_levels(p)) == rejected) | near).all()


def test_pairs_are_matched_by_seed_and_missing_ones_named() -> None:
    pairs = paired_differences({2: 0.7, 1: 0.6}, {1: 0.5, 2: 0.5})
    assert pairs.seeds == (1, 2)
    assert pairs.differences == pytest.approx([0.1, 0.2])
    assert not pairs.dropped
    arm, baseline = {0: 0.5, 1: math.nan, 3: 1.0}, {0: 0.4, 1: 0.4, 2: 0.4, 3: 0.9}
    with pytest.raises(ValueError, match="seed 1: nan for the arm; seed 2: no finished value for the arm"):
        paired_differences(arm, baseline)
    dropped = paired_differences(arm, baseline, missing="drop")
    assert dropped.seeds == (0, 3)
    assert len(dropped.dropped) == 2
    with pytest.raises(ValueError, match="missing="):
        paired_differences(arm, baseline, missing="ignore")


def test_the_probability_of_improvement_is_the_mann_whitney_share() -> None:
    assert probability_of_improvement([3, 4], [1, 2]).mean == 1
    assert probability_of_improvement([1, 1], [1, 1]).mean == 0.5
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.3, 1, 9), rng.normal(0, 1, 7)
    estimate = probability_of_improvement(x, y)
    assert estimate.mean == pytest.approx(ss.mannwhitneyu(x, y).statistic / 63)
    assert estimate.low < estimate.mean < estimate.high
    two = probability_of_improvement(np.column_stack([x, x]), np.column_stack([y, y + 100]))
    assert two.mean == pytest.approx(estimate.mean / 2)


@given(numbers, numbers)
@settings(max_examples=25)
def test_improvement_of_both_sides_adds_to_one(x: list[float], y: list[float]) -> None:
    assert probability_of_improvement(x, y, resamples=2).mean + probability_of_improvement(y, x, resamples=2).mean == pytest.approx(1)


def test_wilson_by_hand() -> None:
    # 8 of 10 at 95 %: (0.4902, 0.9433), Wilson 1927
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 0) == (0, 1)


@pytest.mark.parametrize(("effect", "sd", "n"), [(0.02, 0.01, 5), (0.01, 0.02, 8), (0.5, 1, 30)])
def test_power_equals_statsmodels(effect: float, sd: float, n: int) -> None:
    expected = TTestPower().power(effect / sd, n, 0.025, alternative="larger")
    assert power_difference(effect, sd, n) == pytest.approx(expected, abs=1e-6)


def test_power_of_equivalence_by_simulation() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(0, 1, (20000, 12))
    half = ss.t.ppf(0.975, 11) * draws.std(1, ddof=1) / math.sqrt(12)
    inside = (np.abs(draws.mean(1)) + half < 1.0).mean()
    assert power_equivalence(1.0, 1.0, 12) == pytest.approx(inside, abs=0.02)


def test_seeds_to_settle_are_the_fewest_with_the_power() -> None:
    n = seeds_to_settle(0.01, 0.01)
    assert n is not None
    assert power_equivalence(0.01, 0.01, n) >= 0.8 > power_equivalence(0.01, 0.01, n - 1)
    assert seeds_to_settle(0.02, 0.01) > n
    assert seeds_to_settle(10, 0.01) is None
    assert seeds_to_settle(0.01, 0) is None

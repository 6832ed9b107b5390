"""Curve statistics on curves whose answer is known."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore_lab.analysis import curve_summary, load_curves, load_runs, plot_curves
from lore_lab.analysis.curves import fit_entropy_law, headline_curves, plateau, seed_bands, smooth, steps_to_gain, time_to_collapse
from lore_lab.analysis.palette import arm_style

STEPS = np.arange(1, 101)


def test_time_to_collapse_is_when_the_entropy_falls_under_its_share_for_good() -> None:
    cliff = np.where(STEPS < 40, 1.0, 0.1)
    assert time_to_collapse(STEPS, cliff, window=1) == 40
    assert time_to_collapse(STEPS * 10, cliff, window=1) == 400
    dip = np.where((STEPS >= 20) & (STEPS < 23), 0.1, 1.0)
    assert time_to_collapse(STEPS, dip, window=1) == math.inf
    assert time_to_collapse(STEPS, np.ones(100)) == math.inf


def test_plateau_is_the_mean_of_the_last_fifth() -> None:
    assert plateau([*range(8), 10, 20]) == 15
    assert plateau([5.0]) == 5
    assert plateau([1, 1, 1, 1, math.nan]) == 1
    assert math.isnan(plateau([]))


def test_steps_to_gain_on_a_ramp() -> None:
    ramp = np.concatenate([np.zeros(10), np.linspace(0, 1, 50), np.ones(40)])
    reached = steps_to_gain(STEPS, ramp, window=1)
    assert ramp[int(reached) - 1] >= 0.9 > ramp[int(reached) - 2]
    assert math.isnan(steps_to_gain(STEPS, np.ones(100)))
    assert math.isnan(steps_to_gain(STEPS, 1 - ramp))


@given(st.floats(0.01, 2), st.floats(-2, 3))
def test_the_entropy_law_is_recovered_exactly_without_noise(a: float, b: float) -> None:
    h = np.linspace(0.05, 1, 20)
    law = fit_entropy_law(h, -a * np.exp(h) + b)
    assert (law.a, law.b, law.ceiling) == pytest.approx((a, b, b - a), abs=1e-9)
    assert law.r2 == pytest.approx(1)
    assert law.n == 20


def test_the_entropy_law_with_noise_has_the_r2_of_a_line() -> None:
    rng = np.random.default_rng(0)
    h = rng.uniform(0, 1, 50)
    r = -0.3 * np.exp(h) + 1 + rng.normal(0, 0.1, 50)
    assert fit_entropy_law(h, r).r2 == pytest.approx(np.corrcoef(np.exp(h), r)[0, 1] ** 2)
    with pytest.raises(ValueError, match="3 pairs"):
        fit_entropy_law([0.1, 0.2, math.nan], [1, 2, 3])
    with pytest.raises(ValueError, match="differing"):
        fit_entropy_law([0.1] * 5, range(5))


def test_smoothing_keeps_a_constant_and_the_length() -> None:
    assert smooth(np.ones(7), 5) == pytest.approx(np.ones(7))
    assert smooth([0, 3, 0], 3) == pytest.approx([1.5, 1, 1.5])


def test_bands_hold_the_mean_and_the_range_over_seeds() -> None:
    curves = pd.DataFrame(
        {"point": ["p", "p", "q"], "arm": ["a"] * 3, "seed": [0, 0, 1], "step": [1, 2, 1], "name": ["x"] * 3, "value": [1.0, 5.0, 3.0]}
    )
    band = seed_bands(curves, "x")["a"]
    assert band.loc[1].tolist() == [2, 1, 3, 2]
    assert band.loc[2].tolist() == [5, 5, 5, 1]


def test_the_headline_prefers_what_tells_most_and_falls_back() -> None:
    assert headline_curves(["rl/reward", "rl/entropy", "rl/lore/entropy_decision"]) == ["rl/lore/entropy_decision", "rl/reward"]
    assert headline_curves(["sft/loss"]) == []


def test_a_summary_of_curves_per_point(tree: Path) -> None:
    table = curve_summary(load_curves(load_runs(tree)))
    assert len(table) == 10
    means = table.groupby("arm")[["plateau_entropy", "law_r2", "steps_to_90", "gain"]].mean()
    assert means.loc["rl.clip_high=0.28", "plateau_entropy"] > means.loc["rl.clip_high=0.2", "plateau_entropy"]
    assert (means["law_r2"] > 0.5).all()
    assert (means["gain"] > 0.05).all()
    assert curve_summary(load_curves(load_runs(tree)), "rl/entropy", "no/such")["gain"].isna().all()


def test_figures_draw_a_line_and_a_band_per_arm_and_survive_no_curves(tree: Path) -> None:
    runs = load_runs(tree)
    figure = plot_curves(load_curves(runs), ["rl/entropy"])
    assert len(figure.axes) == 1
    assert len(figure.axes[0].lines) == len(figure.axes[0].collections) == 2
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert not plot_curves(load_curves(runs, ["no/such"])).axes


def test_28_arms_look_different() -> None:
    assert len({arm_style(i) for i in range(28)}) == 28


def test_a_reward_logged_once_per_generation_is_fitted_on_its_own_steps() -> None:
    steps = np.arange(1, 97)
    entropy = np.linspace(2, 1.6, 96)
    own = steps[::8]
    curves = pd.DataFrame(
        {
            "point": "p",
            "arm": "a",
            "seed": 0,
            "step": [*steps, *own],
            "name": ["rl/entropy"] * 96 + ["rl/reward"] * 12,
            "value": [*entropy, *(1 - 0.1 * np.exp(entropy[::8]))],
        }
    )
    row = curve_summary(curves).iloc[0]
    assert (row["law_a"], row["law_b"], row["law_r2"]) == pytest.approx((0.1, 1, 1))
    assert row["steps_to_90"] in own

"""What a claim measures: read strictly, computed on known curves."""

from pathlib import Path

import numpy as np
import pytest
from fake_tree import write_sweep

from lore_lab.analysis import load_curves, load_runs
from lore_lab.analysis.measures import FACTS, Term, jitter, parse_metric, start, with_metric


def test_a_metric_is_a_column_a_fact_or_a_difference() -> None:
    assert parse_metric("eval/pass@8 - eval/pass@1") == [Term("", ("eval/pass@8",)), Term("", ("eval/pass@1",))]
    assert parse_metric("law_r2(rl/entropy, rl/reward) - 0.9") == [Term("law_r2", ("rl/entropy", "rl/reward")), Term("", ("0.9",))]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("plato(rl/entropy)", "did you mean plateau"),
        ("plateau(rl/entropy, rl/reward)", "takes 1 curve"),
        ("law_r2(rl/entropy)", "takes 2 curves"),
        ("plateau()", "takes 1 curve"),
        ("a - b - c", "at most one difference"),
        ("a + b", "neither a metric"),
        ("", "neither a metric"),
    ],
)
def test_what_cannot_be_read_is_named(metric: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_metric(metric)


def test_facts_of_known_curves() -> None:
    steps = np.arange(1, 101)
    assert start(steps.astype(float)) == 3.0  # mean of 1..5
    assert FACTS["plateau"](steps, steps.astype(float)) == 90.5  # mean of 81..100
    assert jitter(steps.astype(float)) == 0.0
    assert jitter(np.array([9, 9, 9, 9, 0, 1, 0, 1.0])) == pytest.approx(np.std([1, -1, 1], ddof=1))
    assert np.isnan(jitter(np.arange(7.0)[:6]))
    falling = np.where(steps < 40, 1.0, 0.1)
    assert 38 <= FACTS["time_to_collapse"](steps, falling) <= 42


def test_convergence_is_the_first_step_at_a_share_of_the_final_value() -> None:
    steps = np.arange(1, 201)
    rising = np.minimum(steps / 100, 1.0)  # at 1 from step 100: the plateau is 1
    assert abs(FACTS["steps_to_converge"](steps, rising) - 95) <= 1
    assert FACTS["steps_to_converge"](steps, np.ones(200)) == 1
    late = np.where(steps <= 190, 0.1, 1.0)  # the plateau, 0.325, lies above all but the end
    assert abs(FACTS["steps_to_converge"](steps, late) - 190) <= 5
    assert FACTS["steps_to_converge"](steps[::10], rising[::10]) == 101


def test_each_run_gets_the_fact_of_its_own_curve(tree: Path) -> None:
    runs = load_runs(tree, "s1")
    metric = "plateau(rl/entropy) - start(rl/entropy)"
    measured = with_metric(runs, metric)
    assert measured.attrs == runs.attrs
    assert metric not in runs
    for row in measured.to_dict("records"):
        curve = load_curves(runs[runs["point"] == row["point"]], ["rl/entropy"])["value"].to_numpy()
        assert row[metric] == pytest.approx(curve[-8:].mean() - curve[:2].mean())
    assert (with_metric(runs, "eval/pass@8 - eval/pass@1")["eval/pass@8 - eval/pass@1"] - 0.25).abs().max() < 1e-9
    assert (with_metric(runs, "law_r2(rl/entropy, rl/reward) - 0.5").iloc[:, -1] < 0.5).all()
    assert with_metric(runs, "eval/macro_f1") is runs


def test_a_run_without_the_curve_has_no_value_and_a_curve_nobody_has_is_an_error(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, {"rl.clip_high": ["0.2"], "seed": ["0", "1"]})
    runs = load_runs(tmp_path)
    with pytest.raises(KeyError, match="rl/lore/none"):
        with_metric(runs, "plateau(rl/lore/none)")
    with pytest.raises(KeyError, match="eval/mrr"):
        with_metric(runs, "eval/mrr - 0.5")
    keys = [key for stage, key in runs.iloc[0]["stages"] if stage == "rl"]
    (tmp_path / "store" / "rl" / keys[0] / "curves.parquet").unlink()
    values = with_metric(load_runs(tmp_path), "plateau(rl/entropy)").set_index("point")["plateau(rl/entropy)"]
    assert values.isna().sum() == 1
    assert np.isnan(values[points[0]]) or np.isnan(values[points[1]])

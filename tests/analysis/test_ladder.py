"""The table of steps against numpy and scipy, what it compares with what, and its files."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_tree import write_sweep
from scipy import stats

from lore_lab.analysis import load_runs, summarise_sweep, write_report
from lore_lab.analysis.ladder import Ladder, build_ladder, plot_ladder

STEPS = [
    {"step": "all", "adds": "every pair", "after": None, "paper": {"macro_f1": 0.4486, "acc@4": 0.628}, "tag": "secondary"},
    {"step": "im", "adds": "IM", "after": "all", "paper": {"macro_f1": 0.4629, "acc@4": 0.601}, "tag": "secondary"},
    {"step": "skipped", "adds": "not run", "after": "im", "paper": {"macro_f1": 0.5281}, "tag": "secondary"},
    {"step": "beside", "adds": "a control", "after": "all", "paper": {}, "tag": ""},
    {"step": "last", "adds": "the rest", "after": "skipped", "paper": {}, "tag": ""},
]
RECIPE = {
    "name": "lref",
    "source": "a paper",
    "shows": ["eval/macro_f1", "eval/nothing"],
    "also": ["plateau(rl/reward)", "eval/rule/macro_f1"],
    "steps": STEPS,
}
RUN = ("all", "im", "beside", "last")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep `s1` over four of the five steps, three seeds."""
    root = tmp_path_factory.mktemp("outputs")
    write_sweep(root, {"rl.clip_high": list("1234"), "seed": list("012")})
    path = root / "sweeps" / "s1" / "sweep.json"
    record = json.loads(path.read_text())
    for place, point in enumerate(record["points"]):
        point["arm"] = RUN[place // 3]
    path.write_text(json.dumps(record | {"axes": {"seed": list("012")}, "recipe": RECIPE}))
    return root


@pytest.fixture(scope="module")
def ladder(root: Path) -> Ladder:
    return build_ladder(load_runs(root, "s1"), RECIPE)


def rung(ladder: Ladder, step: str, metric: str) -> pd.Series:
    (row,) = ladder.numbers[(ladder.numbers["step"] == step) & (ladder.numbers["metric"] == metric)].to_dict("records")
    return pd.Series(row)


def values(root: Path, step: str, metric: str) -> np.ndarray:
    runs = load_runs(root, "s1")
    return runs[runs["arm"] == step].sort_values("seed")[metric].to_numpy(dtype=float)


@pytest.mark.parametrize("metric", ["macro_f1", "acc@4", "pass@1", "pass@8", "optimistic_error_share", "rule/macro_f1"])
@pytest.mark.parametrize("step", RUN)
def test_means_and_intervals_are_those_of_scipy(root: Path, ladder: Ladder, step: str, metric: str) -> None:
    own, found = values(root, step, f"eval/{metric}"), rung(ladder, step, metric)
    assert (found["n"], found["mean"]) == (3, pytest.approx(own.mean()))
    if own.std() > 0:
        low, high = stats.t.interval(0.95, 2, own.mean(), own.std(ddof=1) / np.sqrt(3))
        assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(("step", "against"), [("im", "all"), ("beside", "all"), ("last", "im")])
def test_a_step_is_compared_with_the_nearest_before_it_that_was_run(root: Path, ladder: Ladder, step: str, against: str) -> None:
    found = rung(ladder, step, "macro_f1")
    paired = values(root, step, "eval/macro_f1") - values(root, against, "eval/macro_f1")
    low, high = stats.t.interval(0.95, 2, paired.mean(), paired.std(ddof=1) / np.sqrt(3))
    assert (found["against"], found["pairs"]) == (against, 3)
    assert found[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx([paired.mean(), low, high])


def test_the_first_step_is_compared_with_nothing(ladder: Ladder) -> None:
    found = rung(ladder, "all", "macro_f1")
    assert found["against"] == ""
    assert np.isnan(found["difference"])


def test_the_papers_figures_stand_beside_and_their_difference_only_where_both_are_known(ladder: Ladder) -> None:
    assert rung(ladder, "im", "macro_f1")["paper_difference"] == pytest.approx(0.0143)
    assert rung(ladder, "im", "acc@4")["paper_difference"] == pytest.approx(-0.027)
    assert np.isnan(rung(ladder, "last", "macro_f1")["paper"])
    assert ladder.levels["paper macro_f1"].tolist() == ["0.449", "0.463", "", ""]
    assert ladder.gains["paper acc@4"].tolist() == ["", "-0.027", "", ""]
    assert "paper pass@1" not in ladder.levels
    assert ladder.captions[0].endswith("`paper`: what it reports on data of its own, read in secondary notes.")


def test_a_table_has_what_was_measured_and_expressions_over_curves(root: Path, ladder: Ladder) -> None:
    metrics = [
        "macro_f1",
        "acc@4",
        "acc@2",
        "optimistic_error_share",
        "pass@1",
        "pass@8",
        "invalid_rate",
        "plateau(rl/reward)",
        "rule/macro_f1",
    ]
    assert list(dict.fromkeys(ladder.numbers["metric"])) == metrics
    assert ladder.shows == ("macro_f1",)
    assert ladder.levels["seeds"].tolist() == ["3/3"] * 4
    own = values(root, "im", "eval/macro_f1")
    half = stats.t.ppf(0.975, 2) * own.std(ddof=1) / np.sqrt(3)
    assert ladder.levels["macro_f1"].tolist()[1] == f"{own.mean():.3f} ±{half:.3f}"


def test_one_seed_has_no_interval_and_a_failed_one_no_pair(root: Path) -> None:
    runs = load_runs(root, "s1")
    attrs = runs.attrs
    runs = runs[(runs["seed"] == 0) | (runs["arm"] == "all")].copy()
    runs.attrs = attrs
    runs.loc[runs["arm"] == "beside", "state"] = "failed"
    ladder = build_ladder(runs, RECIPE)
    assert rung(ladder, "im", "macro_f1")[["n", "pairs"]].tolist() == [1, 1]
    assert "±" not in ladder.levels["macro_f1"].tolist()[1]
    assert ladder.levels["macro_f1"].tolist()[2] == ladder.gains["macro_f1"].tolist()[2] == ""
    assert ladder.levels["seeds"].tolist() == ["3/3", "1/1", "0/1", "1/1"]
    plot_ladder(ladder)


def test_a_summary_writes_the_table_in_four_forms(root: Path) -> None:
    summary = summarise_sweep(root, "s1")
    assert summary.ladder is not None
    table = pd.read_csv(summary.folder / "steps.csv")
    content = json.loads((summary.folder / "steps.json").read_text())
    assert len(table) == len(content["steps"]) == len(summary.ladder.numbers)
    assert content["steps"][0]["difference"] is None
    assert (summary.folder / "steps.png").read_bytes().startswith(b"\x89PNG")
    text = (summary.folder / "steps.md").read_text()
    assert "| step | adds | seeds | macro_f1 | paper macro_f1 |" in text
    assert "| last | im |" in text
    assert "steps.md" in (summary.folder / "table.md").read_text()
    assert not (summary.folder / "metric.png").exists()


def test_the_picture_has_the_papers_levels_on_an_axis_of_their_own_as_hollow_marks(ladder: Ladder) -> None:
    level, paper, gain = plot_ladder(ladder).axes
    assert level.lines[-1].get_xdata().tolist() == pytest.approx(ladder.numbers.query("metric == 'macro_f1'")["mean"].tolist())
    assert level.lines[-1].get_markerfacecolor() != "white"
    assert [line.get_markerfacecolor() for line in paper.lines] == ["white"]
    assert [tick.get_text() for tick in level.get_yticklabels()] == list(RUN)
    assert "white" in [line.get_markerfacecolor() for line in gain.lines]


def test_a_metric_the_paper_does_not_report_has_no_empty_axis(ladder: Ladder) -> None:
    other = ladder.numbers.query("metric == 'macro_f1'").assign(metric="other", paper=float("nan"), paper_difference=float("nan"))
    both = dataclasses.replace(ladder, numbers=pd.concat([ladder.numbers, other]), shows=("macro_f1", "other"))
    assert [axis.axison for axis in plot_ladder(both).axes] == [True, True, True, True, False, True]


def test_a_report_shows_the_steps_with_their_picture(root: Path, tmp_path: Path) -> None:
    page = write_report(root, "s1", tmp_path / "report.html").read_text()
    assert "steps of lref (a paper)" in page
    assert 'alt="lref step by step" src="data:image/png;base64,' in page

"""A sweep's summary: what it writes, what it says of failures, and how it marks arms that did not act."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from fake_tree import write_sweep
from rich.console import Console

from lore_lab.analysis.comparison import compare, subset_effects
from lore_lab.analysis.load import load_runs
from lore_lab.analysis.realised import realised_effect
from lore_lab.analysis.stats import t_interval
from lore_lab.analysis.summary import summarise_sweep

CLIP = {"rl.clip_high": ["0.2", "0.28"], "seed": ["0", "1", "2"]}


def _set(root: Path, point: str, **fields: object) -> None:
    path = root / "points" / point / "point.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _printed(renderable: object, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_sweep_is_summarised_into_three_files_and_a_table(tree: Path) -> None:
    summary = summarise_sweep(tree, "s1")
    assert (summary.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(summary.folder / "table.csv")
    assert len(table) == 10
    assert {"arm", "seed", "eval/macro_f1", "note"} <= set(table.columns)
    assert "macro_f1 difference" in (summary.folder / "table.md").read_text()
    assert "rl.clip_high=0.28" in _printed(summary)
    assert not summary.notes
    runs = load_runs(tree, "s1").pivot(index="seed", columns="arm", values="eval/macro_f1")
    low = t_interval(runs["rl.clip_high=0.28"] - runs["rl.clip_high=0.2"]).low
    assert f"{low:+.3f}" in _printed(summary)


def test_baselines_stand_beside_the_arms_once_where_they_are_the_same(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, CLIP)
    summary = summarise_sweep(tmp_path, "s1")
    assert summary.baselines[["baseline", "arm"]].to_numpy().tolist() == [["bm25", "all"]]
    assert summary.baselines["macro_f1"].iloc[0].startswith("0.400 [")
    assert "bm25" in _printed(summary)
    assert "## Baselines" in summary.to_markdown()
    for point in points[3:]:  # the second arm has data of its own
        record = json.loads((tmp_path / "points" / point / "point.json").read_text())
        _set(tmp_path, point, metrics=record["metrics"] | {"baseline/bm25/macro_f1": 0.3})
    assert summarise_sweep(tmp_path, "s1").baselines["arm"].tolist() == ["rl.clip_high=0.2", "rl.clip_high=0.28"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_keeps_the_main_metric_whole_on_a_narrow_terminal(tree: Path, width: int) -> None:
    lines = _printed(summarise_sweep(tree, "s1"), width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("[0." in line and line.count("]") == 1 for line in lines)


def test_failed_and_queued_points_are_listed_and_the_rest_summarised(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, CLIP)
    _set(tmp_path, points[5], state="failed", error="Traceback\nValueError: [red]boom", metrics={})
    (tmp_path / "points" / points[4] / "point.json").unlink()
    summary = summarise_sweep(tmp_path, "s1")
    assert summary.failed == [("rl.clip_high=0.28", "2", "ValueError: [red]boom", f"points/{points[5]}/log.txt")]
    assert "[red]boom" in _printed(summary)
    assert "queued" in _printed(summary)
    assert summary.arms["seeds"].tolist() == ["3/3", "1/3"]
    assert summary.arms["macro_f1 difference"].tolist() == ["", ""]


def test_nothing_finished_yet_is_no_error(tmp_path: Path) -> None:
    for point in write_sweep(tmp_path, CLIP):
        (tmp_path / "points" / point / "point.json").unlink()
    assert set(summarise_sweep(tmp_path, "s1").points["state"]) == {"queued"}


def test_clip_ratios_that_are_all_zero_are_marked_when_a_clip_axis_is_swept(tmp_path: Path) -> None:
    points = write_sweep(tmp_path / "a", CLIP, clip=0.0)
    notes = realised_effect(load_runs(tmp_path / "a", "s1"))
    assert set(notes) == set(points)
    assert "clip_high" in notes[points[0]][0]
    write_sweep(tmp_path / "b", {"rl.lr": ["1", "2"]}, clip=0.0)
    assert not realised_effect(load_runs(tmp_path / "b", "s1"))


def test_identical_weights_are_marked_with_the_arm_they_equal(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, CLIP, model_bytes={"0.2": "same", "0.28": "same"})
    notes = realised_effect(load_runs(tmp_path, "s1"))
    assert notes[points[0]] == ["same weights as rl.clip_high=0.28"]
    assert notes[points[3]] == ["same weights as rl.clip_high=0.2"]
    summary = summarise_sweep(tmp_path, "s1")
    assert summary.points["note"].str.contains("same weights").all()


def test_identical_predictions_are_marked(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, {"rl.clip_high": ["0.2", "0.28"], "seed": ["0"]})
    records = [json.loads((tmp_path / "points" / p / "point.json").read_text()) for p in points]
    ours, theirs = (tmp_path / "store" / "eval" / r["stages"][-1]["key"] / "predictions.parquet" for r in records)
    theirs.write_bytes(ours.read_bytes())
    _set(tmp_path, points[1], metrics=records[0]["metrics"])
    assert realised_effect(load_runs(tmp_path, "s1"))[points[0]] == ["same predictions as rl.clip_high=0.28"]


def test_points_that_share_the_evaluation_itself_differ_elsewhere_and_are_not_marked(tmp_path: Path) -> None:
    """Thresholds of a deployment: one policy, one evaluation, two replays."""
    points = write_sweep(tmp_path, {"deploy.hot_from": ["16", "64"], "seed": ["0"]})
    first = json.loads((tmp_path / "points" / points[0] / "point.json").read_text())
    _set(tmp_path, points[1], metrics=first["metrics"], stages=first["stages"])
    assert not realised_effect(load_runs(tmp_path, "s1"))


def test_compare_pairs_by_seed_and_names_what_is_missing(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, CLIP)
    _set(tmp_path, points[4], state="failed", metrics={})
    runs = load_runs(tmp_path, "s1")
    with pytest.raises(ValueError, match=r"seed 1: no finished value for 'rl.clip_high=0\.28'"):
        compare(runs, "rl.clip_high=0.2")
    row = compare(runs, "rl.clip_high=0.2", missing="drop").iloc[0]
    assert row["seeds"] == 2
    assert row["difference"] == pytest.approx(row["value"] - row["baseline"])
    assert "seed 1" in row["dropped"]


def test_effects_by_subset(tree: Path) -> None:
    effects = subset_effects(load_runs(tree), "rl.clip_high=0.28", "rl.clip_high=0.2")
    assert set(effects["subset"]) == {"general", "hard", "visual", "rule"}
    assert (effects["low"] < effects["high"]).all()
    own = subset_effects(load_runs(tree), "rl.clip_high=0.28", "rl.clip_high=0.2", "eval/visual/macro_f1")
    assert own.equals(effects), "a claim about one subset shows what its arm does to the others"


def test_the_line_that_names_the_error_is_shown(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, {"seed": ["0"]})
    _set(
        tmp_path,
        points[0],
        state="failed",
        error="Traceback\nlib.ConfigKeyError: no key 'x'\n    full_key: x\n    object_type=C",
        metrics={},
    )
    assert summarise_sweep(tmp_path, "s1").failed[0][2] == "lib.ConfigKeyError: no key 'x'"

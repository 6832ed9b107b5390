"""Runs and curves come back from disk as they were written, also where runs are missing, running or cut."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_tree import write_stage, write_sweep

from lore_lab.analysis.comparison import by_seed
from lore_lab.analysis.load import find_arm, latest, load_curves, load_runs, short_names
from lore_lab.tracking.local import CurveWriter


def test_runs_have_a_row_per_point_and_a_column_per_axis_and_metric(tree: Path) -> None:
    runs = load_runs(tree, "s1")
    assert len(runs) == 10
    assert set(runs["state"]) == {"done"}
    assert set(runs["sweep"]) == {"s1"}
    assert list(runs["seed"]) == [0, 1, 2, 3, 4] * 2
    assert runs["rl.clip_high"].tolist() == [0.2] * 5 + [0.28] * 5
    assert list(runs["arm"].unique()) == ["rl.clip_high=0.2", "rl.clip_high=0.28"]
    assert runs["eval/macro_f1"].notna().all()
    assert "eval/visual/macro_f1" in runs
    assert len(load_runs(tree)) == 10


def test_a_point_without_the_override_takes_the_axis_from_its_config(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"seed": ["0"]})
    write_sweep(tmp_path, {"rl.clip_high": ["0.28"], "seed": ["0"]}, sweep="s2")
    runs = load_runs(tmp_path).set_index("arm")
    assert runs.loc["default", "rl.clip_high"] == 0.2
    assert runs.loc["rl.clip_high=0.28", "rl.clip_high"] == 0.28


def test_a_sweep_keeps_its_names_when_another_command_comes_to_the_same_point(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"rl.clip_high": ["0.2", "0.28"], "seed": ["0"]})
    (sweep,) = tmp_path.glob("sweeps/*/sweep.json")
    path = tmp_path / "points" / json.loads(sweep.read_text())["points"][0]["point"] / "point.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"overrides": []}))
    assert list(load_runs(tmp_path, sweep.parent.name)["arm"]) == ["rl.clip_high=0.2", "rl.clip_high=0.28"]


def test_curves_are_those_of_the_points_own_stages(tree: Path) -> None:
    runs = load_runs(tree, "s1")
    curves = load_curves(runs, ["rl/entropy", "sft/loss"])
    assert list(curves.columns) == ["point", "arm", "seed", "step", "name", "value"]
    assert curves.groupby(["point", "name"], observed=True).size().eq(40).all()
    assert len(curves) == 10 * 2 * 40
    assert set(load_curves(runs)["name"]) > {"rl/entropy", "rl/clip_ratio/high_mean"}
    assert load_curves(runs, ["no/such"]).empty


def test_a_point_that_never_started_is_queued_and_a_running_one_shows_its_curves(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, {"rl.clip_high": ["0.2", "0.28"], "seed": ["0"]})
    (tmp_path / "points" / points[0] / "point.json").unlink()
    record = tmp_path / "points" / points[1] / "point.json"
    content = json.loads(record.read_text()) | {"state": "running", "metrics": {}}
    content["stages"] = [{"stage": "rl", "key": "fresh", "cached": False, "seconds": None}]
    record.write_text(json.dumps(content))
    work = tmp_path / "work" / "rl-fresh"
    work.mkdir(parents=True)
    for values in ([1.0, 2.0, 3.0], [9.0]):  # the second attempt repeats step 0
        writer = CurveWriter(work, "rl")
        for step, value in enumerate(values):
            writer.log(step, {"entropy": value})
        writer.close()
    first = work / "curves-000.arrow"
    first.write_bytes(first.read_bytes()[:-150])  # a kill in the middle of a write
    runs = load_runs(tmp_path, "s1")
    assert list(runs["state"]) == ["queued", "running"]
    curves = load_curves(runs)
    assert curves["value"].iloc[0] == 9.0
    assert 2.0 in set(curves["value"])
    assert set(curves["arm"]) == {"rl.clip_high=0.28"}


def test_an_empty_root_gives_an_empty_table_and_a_wrong_sweep_names_the_right_ones(tmp_path: Path, tree: Path) -> None:
    runs = load_runs(tmp_path)
    assert runs.empty
    assert {"point", "arm", "seed", "state"} <= set(runs.columns)
    assert load_curves(runs).empty
    with pytest.raises(FileNotFoundError, match="s1"):
        load_runs(tree, "nope")


def test_arms_can_be_named_in_short() -> None:
    arms = ["rl.lr=1 rl.clip_high=0.2", "rl.lr=1 rl.clip_high=0.28"]
    assert list(short_names(arms).values()) == ["rl.clip_high=0.2", "rl.clip_high=0.28"]
    assert short_names(["default", "a=1"]) == {"default": "default", "a=1": "a=1"}


def test_an_arm_is_found_by_part_of_its_name(tree: Path) -> None:
    runs = load_runs(tree)
    assert find_arm(runs, "rl.clip_high=0.28") == "rl.clip_high=0.28"
    with pytest.raises(KeyError, match=r"rl\.clip_high=0\.2"):
        find_arm(runs, "rl.clip_high=0.3")


def test_damaged_weights_do_not_matter_to_loading(tmp_path: Path) -> None:
    write_stage(tmp_path, "rl", "lonely", {}, None, "w")
    assert load_runs(tmp_path).empty


def test_the_analysis_imports_neither_torch_nor_its_friends() -> None:
    code = (
        "import sys, lore_lab.analysis as a; [getattr(a, n) for n in a.__all__]; "
        "print([m for m in ('torch', 'transformers', 'trl', 'wandb') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_latest_point_of_an_arm_and_seed_is_the_finished_one(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, {"seed": ["0", "1"]})
    first = tmp_path / "points" / points[0] / "point.json"
    old = json.loads(first.read_text())
    for name, fields in {
        "older": {"finished": "2025-01-01T00:00:00"},
        "newer": {"finished": "2027-01-01T00:00:00", "state": "failed"},
    }.items():
        (tmp_path / "points" / name).mkdir()
        (tmp_path / "points" / name / "point.json").write_text(json.dumps(old | {"point": name} | fields))
    runs = load_runs(tmp_path)
    with pytest.raises(ValueError, match="seed 0 twice"):
        by_seed(runs, "eval/macro_f1")
    assert set(latest(runs)["point"]) == set(points)
    assert by_seed(latest(runs), "eval/macro_f1")["default"].keys() == {0, 1}

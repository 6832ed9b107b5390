"""One point and one sweep, as a user runs them: real training of a tiny model."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lore_lab.cli import main
from tests.end_to_end.conftest import Lab


def test_the_sweep_trains_shared_stages_once_and_ends_with_table_picture_and_record(finished: Lab) -> None:
    counts = {stage: len(finished.manifests(stage)) for stage in ("data", "bench", "leaks", "baseline", "base", "sft", "rl", "eval")}
    assert counts == {"data": 1, "bench": 1, "leaks": 1, "baseline": 1, "base": 1, "sft": 1, "rl": 2, "eval": 3}
    (folder,) = finished.root.glob("sweeps/*")
    assert {"table.csv", "table.md", "curves.png", "sweep.json"} <= {path.name for path in folder.iterdir()}
    record = json.loads((folder / "sweep.json").read_text())
    assert record["axes"] == {"rl.clip_high": ["0.2", "0.28"]}
    assert record["finished"]
    computed = [stage for point in finished.points() for stage in point["stages"] if stage["stage"] == "sft" and not stage["cached"]]
    assert len(computed) == 1, "the record says which point trained the shared stage"


def test_every_optimizer_step_is_in_the_curves_and_predictions_are_a_table(finished: Lab) -> None:
    key = sorted(finished.manifests("rl"))[0]
    curves = pd.read_parquet(finished.root / "store" / "rl" / key / "curves.parquet")
    entropy = curves[curves["name"] == "rl/entropy"]
    assert list(entropy["step"]) == list(range(1, 9))
    assert "rl/clip_ratio/high_mean" in set(curves["name"])
    key = sorted(finished.manifests("eval"))[0]
    table = pd.read_parquet(finished.root / "store" / "eval" / key / "predictions.parquet")
    assert len(table) == 4 * 4 + 4 * 2 * 2
    assert set(table["mode"]) == {"greedy", "sampled"}


def test_the_metrics_of_the_design_are_all_there(finished: Lab) -> None:
    metrics = finished.points()[0]["metrics"]
    names = [
        "acc@4",
        "acc@2",
        "macro_f1",
        "precision/1",
        "recall/4",
        "f1/2",
        "pass@1",
        "pass@2",
        "optimistic_error_share",
        "invalid_rate",
        "cot_tokens",
        "ece",
        "brier",
        "unscored_rate",
    ]
    groups = ["", "general/", "hard/", "visual/", "rule/"]
    assert not [name for name in names for group in groups if f"eval/{group}{name}" not in metrics]
    assert any(name.startswith(("eval/head/", "eval/torso/", "eval/tail/")) for name in metrics)
    assert {f"baseline/{name}/{group}macro_f1" for name in ("majority", "tfidf", "bm25") for group in groups} <= set(metrics)
    assert metrics["eval/macro_f1/low"] <= metrics["eval/macro_f1"] <= metrics["eval/macro_f1/high"]


def test_again_computes_nothing_and_one_more_arm_computes_only_itself(finished: Lab) -> None:
    before = finished.weights()
    again = finished.run("-m", "rl.clip_high=0.2,0.28")
    assert again.returncode == 0
    assert "start" not in again.stderr, "everything is cached"
    plan = finished.run("-m", "rl.clip_high=0.2,0.28,0.35", "--plan")
    assert "2 stages to run" in plan.stdout, plan.stdout
    assert finished.weights() == before


def test_same_seed_twice_is_identical_and_two_seeds_differ_from_the_first_step(finished: Lab, lab: Lab) -> None:
    assert lab.run("-m", "seed=0,1").returncode == 0
    default = next(point for point in finished.points() if point["config"]["rl"]["clip_high"] == 0.2)
    same = next(point for point in lab.points() if point["seed"] == 0)
    assert same["metrics"] == default["metrics"]
    assert same["point"] == default["point"]
    first_rewards = []
    for path in sorted(lab.root.glob("store/rl/*/curves.parquet")):
        curves = pd.read_parquet(path)
        first = curves[(curves["step"] == 1) & curves["name"].isin(["rl/entropy", "rl/completions/mean_length", "rl/grad_norm"])]
        first_rewards.append(tuple(first["value"]))
    assert len(set(first_rewards)) == 2


@pytest.mark.parametrize(
    "axis",
    [
        ["prompt=short,medium"],
        ["cot=progressive,naive"],
        *(
            pytest.param([axis], marks=pytest.mark.slow)
            for axis in ("data.size=48,64", "features=title,caption", "curriculum=random,easy_to_hard")
        ),
    ],
    ids=lambda axis: axis[0],
)
def test_every_kind_of_axis_sweeps(lab: Lab, axis: list[str]) -> None:
    run = lab.run("-m", *axis, "rl.max_steps=2", "eval.stages=[]")
    assert run.returncode == 0, run.stdout + run.stderr
    states = [point["state"] for point in lab.points()]
    assert states == ["done", "done"]
    assert len(set(lab.weights())) == len(lab.weights())
    assert len(lab.manifests("base")) == 1, "the base model does not depend on the axis"


@pytest.mark.slow  # the sweeps of the fast suite run with the lab's own launcher
def test_joblib_launches_the_same_points(finished: Lab, lab: Lab) -> None:
    run = lab.run("-m", "rl.clip_high=0.2,0.28", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert run.returncode == 0, run.stdout + run.stderr
    assert lab.metrics() == finished.metrics()
    assert lab.weights() == finished.weights()


def test_status_cache_report_and_rl_read_what_was_made(finished: Lab, tmp_path: Path) -> None:
    def cli(*words: str) -> str:
        command = ["lore_lab.cli", "--root", str(finished.root), *words]
        import sys

        run = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, env=finished.environment())
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    assert "done" in cli("status")
    assert "11 of 11 artifacts are whole" in cli("cache", "verify")
    assert "0 artifacts" in cli("cache", "gc", "--dry-run")
    report = tmp_path / "report.html"
    cli("report", "-o", str(report))
    assert "<html" in report.read_text()
    cli("rl", "-o", str(tmp_path / "rl"))
    assert {path.name for path in (tmp_path / "rl").iterdir()} == {"table.md", "table.csv", "entropy.png", "law.png", "order.png"}
    assert "| 0.28 | 1 |" in (tmp_path / "rl" / "table.md").read_text()


def test_a_curriculum_orders_the_same_prompts(lab: Lab) -> None:
    assert lab.run("-m", "curriculum=random,easy_to_hard", "rl.max_steps=4", "eval.stages=[]").returncode == 0
    orders = [json.loads(path.read_text()) for path in sorted(lab.root.glob("store/rl/*/order.json"))]
    assert sorted(orders[0]["examples"]) == sorted(orders[1]["examples"])
    assert sum(order["difficulty"] == sorted(order["difficulty"]) for order in orders) == 1


def test_bfloat16_on_a_processor_trains_evaluates_and_is_exported(lab: Lab, tmp_path: Path) -> None:
    run = lab.run("compute=bf16", "eval.stages=[]")
    assert run.returncode == 0, run.stdout + run.stderr
    for stage in ("sft", "rl"):
        policies = [json.loads(path.read_text()) for path in lab.root.glob(f"store/{stage}/*/policy.json")]
        assert policies == [{"dtype": "float32", "attention": "grouped"}]
    point = lab.points()[0]["point"]
    assert main(["--root", str(lab.root), "export", point, str(tmp_path / "judge")]) == 0
    assert "grouped" not in (tmp_path / "judge" / "config.json").read_text(), "a judge that others load has transformers' attention"


@pytest.mark.slow  # a C++ compiler has a minute of work
def test_compiled_layers_train_the_same_policy(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = lab.run("-m", "compute.compile=false,true", "compute.whole_logits=true", "rl=off", "eval.stages=[]", timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    assert any((tmp_path / "lore_lab" / "compiled").iterdir()), "what was compiled lies in the user's own folder"
    for stage in ("base", "sft"):
        one, other = (
            pd.read_parquet(path).query(f"name == '{stage}/loss'")["value"].to_numpy()
            for path in lab.root.glob(f"store/{stage}/*/curves.parquet")
        )
        assert len(one) > 2
        np.testing.assert_allclose(one, other, rtol=1e-4)

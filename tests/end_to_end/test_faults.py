"""Nothing computed is lost, nothing is corrupted: kills at random moments, failing points, damaged artifacts, two sweeps at once."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from tests.end_to_end.conftest import Lab, kill_group

SWEEP = ("-m", "rl.clip_high=0.2,0.28")


@pytest.mark.parametrize("count", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_same_command_finishes_with_the_same_results(finished: Lab, lab: Lab, count: int) -> None:
    moments = random.Random(count)
    kills = 0
    while kills < count:
        process = lab.start(*SWEEP)
        try:
            code = process.wait(timeout=moments.uniform(1.0, 14.0))
        except subprocess.TimeoutExpired:
            kill_group(process)
        else:
            assert code == 0
            # Done before the kill came: take one finished stage away, so that the rest of the kills have something to hit.
            stage = moments.choice(["rl", "eval", "sft"])
            for path in sorted(lab.root.glob(f"store/{stage}/*"))[:1]:
                path.rename(lab.root / f"gone-{kills}")
            for path in lab.root.glob("store/eval/*"):
                path.rename(lab.root / f"gone-{kills}-{path.name}")
        kills += 1
    run = lab.run(*SWEEP)
    assert run.returncode == 0, run.stdout + run.stderr
    assert lab.metrics() == finished.metrics()
    for name, digest in lab.weights().items():
        assert digest == finished.weights()[name], name


def _rl_child(lab: Lab) -> int:
    """Process id of the running rl stage, read from its lock's holder being a child of the command."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for pid in subprocess.run(["pgrep", "-f", "forkserver"], capture_output=True, text=True).stdout.split():
            try:
                files = os.listdir(f"/proc/{pid}/fd")
                targets = {os.readlink(f"/proc/{pid}/fd/{name}") for name in files}
            except OSError:
                continue
            if any(str(lab.root / "work" / "rl-") in target for target in targets):
                return int(pid)
        time.sleep(0.1)
    raise AssertionError("no rl stage started")


def test_rl_resumes_from_a_generation_window_and_says_so(finished: Lab, lab: Lab) -> None:
    process = lab.start("rl.clip_high=0.2")
    deadline = time.monotonic() + 200
    while not list(lab.root.glob("work/rl-*/checkpoints/checkpoint-*/trainer_state.json")):
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.02)
    kill_group(process)
    if lab.manifests("rl"):
        pytest.skip("the stage finished before the kill; nothing to resume")
    run = lab.run("rl.clip_high=0.2")
    assert run.returncode == 0, run.stdout + run.stderr
    (key,) = lab.manifests("rl")
    manifest = lab.manifests("rl")[key]
    assert manifest["attempts"] == 2
    assert manifest["resumed_from"] in (2, 4, 6, 8)
    undisturbed = finished.manifests("rl")[key]
    assert manifest["files"]["model.safetensors"]["sha256"] == undisturbed["files"]["model.safetensors"]["sha256"]
    curves = lab.curves("rl")
    entropy = curves[curves["name"] == "rl/entropy"]
    assert list(entropy["step"]) == list(range(1, 9)), "the curve has every step once"


def test_a_stage_killed_by_the_system_fails_its_point_only(lab: Lab) -> None:
    process = lab.start(*SWEEP, "rl.max_steps=30", "hydra.launcher.workers=1")
    os.kill(_rl_child(lab), signal.SIGKILL)
    assert process.wait(timeout=300) == 1
    states = sorted(point["state"] for point in lab.points())
    assert states == ["done", "failed"]
    failed = next(point for point in lab.points() if point["state"] == "failed")
    assert "signal 9" in failed["error"]
    assert failed["log"]
    run = lab.run(*SWEEP, "rl.max_steps=30")
    assert run.returncode == 0
    assert [point["state"] for point in lab.points()] == ["done", "done"]


def test_a_point_that_raises_leaves_the_others_whole(lab: Lab) -> None:
    # 10,000 pairs of a prompt budget that cannot hold the query: the stage finds out, not the config.
    run = lab.run("-m", "prompt.max_tokens=400,16", "prompt=medium")
    assert run.returncode == 1
    assert sorted(point["state"] for point in lab.points()) == ["done", "failed"]
    failed = next(point for point in lab.points() if point["state"] == "failed")
    assert "PromptTooLong" in failed["error"]
    assert "PromptTooLong" in run.stdout
    assert failed["log"] in run.stdout.replace("\n", "")
    assert "prompt.max_tokens=16" in run.stdout


def test_a_damaged_artifact_is_set_aside_and_computed_again(lab: Lab) -> None:
    assert lab.run("rl=off", "guard=warn").returncode == 0
    before = lab.weights()
    (path,) = lab.root.glob("store/sft/*/model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (evaluation,) = lab.root.glob("store/eval/*/predictions.parquet")
    evaluation.unlink()
    run = lab.run("rl=off", "guard=warn")
    assert run.returncode == 0
    assert "set aside" in run.stderr
    assert lab.weights() == before
    assert len(list((lab.root / "damaged").iterdir())) == 2


def test_two_sweeps_at_once_compute_nothing_twice(finished: Lab, lab: Lab) -> None:
    both = [lab.start(*SWEEP), lab.start(*SWEEP)]
    assert [process.wait(timeout=300) for process in both] == [0, 0], lab.said()
    assert lab.metrics() == finished.metrics()
    assert lab.weights() == finished.weights()
    assert all(manifest["attempts"] == 1 for stage in ("base", "sft", "rl") for manifest in lab.manifests(stage).values())
    assert not (lab.root / "damaged").exists()


def test_wandb_runs_offline_and_reads_back_with_the_entropy_curve(lab: Lab) -> None:
    words = ["rl.clip_high=0.2", "eval.stages=[]", "tracking=wandb"]
    command = [word for word in lab.command(*words) if word != "tracking=local"]  # one choice a group
    from tests.end_to_end.conftest import ROOT

    run = subprocess.run(command, cwd=ROOT, env=lab.environment() | {"HOME": str(lab.root)}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    (file,) = lab.root.glob("points/*/wandb/offline-run-*/*.wandb")
    (point,) = lab.points()
    assert point["point"] in file.name
    assert point["mirrored"]
    read = subprocess.run(["wandb", "leet", "inspect", "--json", str(file)], capture_output=True, text=True, timeout=60, env=_with_venv())
    assert read.returncode == 0, read.stderr
    assert "rl/entropy" in read.stdout
    assert "rl/step" in read.stdout
    json.loads((lab.root / "points" / point["point"] / "point.json").read_text())


def _with_venv() -> dict[str, str]:
    import sys
    from pathlib import Path

    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_a_failing_wandb_costs_a_warning_not_the_run(lab: Lab) -> None:
    command = [word for word in lab.command("rl=off", "guard=warn", "tracking=wandb", "tracking.wandb=online") if word != "tracking=local"]
    from tests.end_to_end.conftest import ROOT

    environment = lab.environment() | {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "3"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    (point,) = lab.points()
    assert point["state"] == "done"
    assert not point["mirrored"]
    assert "warning: W&B" in run.stderr
    assert "0000000000" not in json.dumps(point)

"""Sweeps through a real Slurm of one node. `make test-slurm` starts it and runs these."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.cluster.conftest import ONE_FAILS, SHORT, Lab, computed_once, counts, kill_job_of, states, training, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif("LORE_LAB_TEST_SLURM" not in os.environ, reason="make test-slurm starts a Slurm and runs these"),
]
SLURM = [
    "-m", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=debug", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1",
    "hydra.launcher.timeout_min=30",
]  # fmt: skip


def queue() -> list[str]:
    return subprocess.run(
        ["squeue", "--me", "--noheader", "--array", "--format=%i %t"], capture_output=True, text=True, check=True
    ).stdout.split("\n")


def test_a_sweep_with_a_failing_point(lab: Lab) -> None:
    run = lab.run(*SLURM, ONE_FAILS, *SHORT, timeout=1800)
    assert run.returncode == 1, run.stdout + run.stderr
    assert states(lab) == ["done", "done", "done", "failed"]
    assert counts(lab) == ["3", "0", "0", "1", "0"]
    for stage in ("data", "bench", "base", "baseline"):
        computed_once(lab, stage)
    computed_once(lab, "rl", artifacts=3)
    assert "PromptTooLong" in run.stdout
    assert len(list(lab.root.glob("submitit/*/*_log.out"))) == 4, "one Slurm job a point"
    assert not any(queue())


def test_a_killed_job_and_one_cancelled_before_it_began_are_noticed_and_made_good(lab: Lab) -> None:
    words = [*SLURM, "rl.clip_high=0.2,0.24,0.28,0.32", "rl.max_steps=40", "eval.stages=[]"]
    process = lab.start(*words)
    kill_job_of(until(lambda: training(lab))[0])
    pending = next(line.split()[0] for line in queue() if line.endswith("PD"))
    subprocess.run(["scancel", pending], check=True)
    assert process.wait(timeout=1800) == 1, lab.said()
    assert [state for state in states(lab) if state == "done"] == ["done", "done"]
    assert counts(lab) == ["2", "0", "1", "0", "1"], lab.said()
    assert lab.said().count("its job ended without a result") == 2, lab.said()
    assert not any(queue())
    run = lab.run(*words, timeout=1800)
    assert run.returncode == 0, run.stdout + run.stderr
    assert counts(lab) == ["4", "0", "0", "0", "0"]
    computed_once(lab, "sft")
    assert sorted(manifest["attempts"] for manifest in lab.manifests("rl").values()) == [1, 1, 1, 2]
    assert any(manifest["resumed_from"] for manifest in lab.manifests("rl").values()), "from its checkpoints"

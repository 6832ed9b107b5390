"""Sweeps through a Ray cluster of two workers. `make test-ray` starts it and runs these."""

from __future__ import annotations

import os

import pytest

from tests.cluster.conftest import ONE_FAILS, SHORT, Lab, computed_once, counts, kill_job_of, states, training, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif("LORE_LAB_TEST_RAY" not in os.environ, reason="make test-ray starts a Ray cluster and runs these"),
]
RAY = ["-m", "hydra/launcher=ray", "hydra.launcher.ray.init.address=auto"]


def test_a_sweep_with_a_failing_point(lab: Lab) -> None:
    run = lab.run(*RAY, ONE_FAILS, *SHORT, timeout=1800)
    assert run.returncode == 1, run.stdout + run.stderr
    assert states(lab) == ["done", "done", "done", "failed"]
    assert counts(lab) == ["3", "0", "0", "1", "0"]
    for stage in ("data", "bench", "base", "baseline"):
        computed_once(lab, stage)
    computed_once(lab, "rl", artifacts=3)
    assert "PromptTooLong" in run.stdout


def test_a_killed_worker_is_noticed_and_made_good(lab: Lab) -> None:
    words = [*RAY, "rl.clip_high=0.2,0.24,0.28", "rl.max_steps=40", "eval.stages=[]", "hydra.launcher.ray.remote.max_retries=0"]
    process = lab.start(*words)
    kill_job_of(until(lambda: training(lab))[0])
    assert process.wait(timeout=1800) == 1, lab.said()
    assert counts(lab) == ["2", "0", "0", "0", "1"], lab.said()
    assert "is interrupted" in lab.said()
    run = lab.run(*words, timeout=1800)
    assert run.returncode == 0, run.stdout + run.stderr
    assert counts(lab) == ["3", "0", "0", "0", "0"]
    computed_once(lab, "sft")
    assert sorted(manifest["attempts"] for manifest in lab.manifests("rl").values()) == [1, 1, 2]


def test_ray_sends_the_point_of_a_killed_worker_again(lab: Lab) -> None:
    words = [*RAY, "rl.clip_high=0.2,0.28", "rl.max_steps=40", "eval.stages=[]"]
    process = lab.start(*words)
    kill_job_of(until(lambda: training(lab))[0])
    assert process.wait(timeout=1800) == 0, lab.said()
    assert counts(lab) == ["2", "0", "0", "0", "0"]

"""What a sweep must hold under every cluster launcher, and the tools to see it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.end_to_end.conftest import Lab, lab, no_children_left

__all__ = ["Lab", "lab", "no_children_left"]

#: the last point's prompts cannot hold the query, which its sft stage finds out
ONE_FAILS = "prompt.max_tokens=400,399,398,16"
SHORT = ("prompt=medium", "rl.max_steps=2", "eval.stages=[]")


def status(lab: Lab) -> str:
    command = [sys.executable, "-m", "lore_lab.cli", "--root", str(lab.root), "status"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=lab.environment()).stdout


def counts(lab: Lab) -> list[str]:
    """done, running, queued, failed, interrupted of the newest sweep, as `lore-lab status` has them."""
    (line,) = [line for line in status(lab).splitlines() if "train.py -m" in line][:1]
    return [cell.strip() for cell in line.replace("┃", "│").split("│")[2:7]]


def states(lab: Lab) -> list[str]:
    return sorted(point["state"] for point in lab.points())


def computed_once(lab: Lab, stage: str, artifacts: int = 1) -> None:
    """So many artifacts of a shared stage, each made by one attempt."""
    made = lab.manifests(stage)
    assert len(made) == artifacts
    assert [manifest["attempts"] for manifest in made.values()] == [1] * artifacts


def until(what: Callable[[], Any], seconds: float = 900) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.1)
    return found


def training(lab: Lab) -> list[dict]:
    """Points whose rl stage has a checkpoint and goes on."""
    begun = {path.parts[-4].split(".")[0] for path in lab.root.glob("work/rl-*/checkpoints/checkpoint-*/trainer_state.json")}
    return [
        point
        for point in lab.points()
        if point["state"] == "running" and any(f"rl-{stage['key']}" in begun for stage in point["stages"] if stage["stage"] == "rl")
    ]


def kill_job_of(point: dict) -> None:
    """SIGKILL for the process that runs a point as a launcher's job."""
    os.kill(point["pid"], signal.SIGKILL)

"""GPUs are handed out once: to the stages of one command and of several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lore_lab.stages.gpus import Gpus, gpus_needed, named

TWO = """GPU 0: NVIDIA H100 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H100 (UUID: GPU-bbbb-2)
"""
SLICED = """GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)
  MIG 1g.18gb     Device  0: (UUID: MIG-cccc-3)
  MIG 1g.18gb     Device  1: (UUID: MIG-dddd-4)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb-2)
"""


@pytest.mark.parametrize(
    ("listing", "visible", "names"),
    [
        (TWO, None, ["GPU-aaaa-1", "GPU-bbbb-2"]),
        (TWO, "1", ["GPU-bbbb-2"]),
        (TWO, "1,0", ["GPU-bbbb-2", "GPU-aaaa-1"]),
        (TWO, "GPU-bbbb-2", ["GPU-bbbb-2"]),
        (TWO, "", []),
        (SLICED, None, ["MIG-cccc-3", "MIG-dddd-4", "GPU-bbbb-2"]),
        (SLICED, "MIG-dddd-4", ["MIG-dddd-4"]),
        ("", "0,1", ["0", "1"]),
        ("", None, []),
    ],
)
def test_a_card_has_one_name_in_every_process(listing: str, visible: str | None, names: list[str]) -> None:
    assert named(listing, visible) == names


def test_a_stage_takes_one_gpu_a_process_and_none_on_a_cpu() -> None:
    assert gpus_needed({}) == 0
    assert gpus_needed({"device": "cpu", "processes": 4}) == 0
    assert gpus_needed({"device": "cuda", "processes": 0}) == 1, "a stage of one process, whose slice leaves the number out"
    assert gpus_needed({"device": "cuda", "processes": 4}) == 4


def test_no_gpu_is_handed_out_twice(tmp_path: Path) -> None:
    gpus, others = Gpus(["a", "b", "MIG-1/2"], tmp_path), Gpus(["a", "b", "MIG-1/2"], tmp_path)
    assert gpus.take(2) == ["a", "b"]
    assert gpus.take(2) is None
    assert others.take(2) is None, "another command of the machine"
    assert others.take(1) == ["MIG-1/2"], "what was tried in vain was given back"
    gpus.give(["a"])
    assert others.take(1) == ["a"]
    assert gpus.take(0) == []


def test_a_killed_command_frees_its_gpus(tmp_path: Path) -> None:
    script = f"from pathlib import Path; from lore_lab.stages.gpus import Gpus; Gpus(['a'], Path({str(tmp_path)!r})).take(1); import os; os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert Gpus(["a"], tmp_path).take(1) == ["a"]

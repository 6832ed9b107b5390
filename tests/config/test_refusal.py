"""The command line itself refuses: exit code 2, a message, nothing written, nothing heavy imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
#: Runs train.py as a script, then says which expensive libraries it had imported.
PROBE = """
import runpy, sys
train, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_path(train, run_name="__main__")
finally:
    heavy = ("torch", "transformers", "trl", "datasets", "wandb", "pandas", "sklearn", "matplotlib")
    print("imported:", *[name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "-m rl.clip_high=0.2,0.28 rl.num_iterations=1 rl.steps_per_generation=1",
            "rl.clip_high cannot act: every rollout feeds exactly one optimizer step",
        ),
        ("rl.clip_high=0.28 rl.num_iterations=1 rl.steps_per_generation=1", "rl.clip_high cannot act"),
        ("-m rl.clip_low=0.1,0.3", "in the point: rl.clip_low=0.3"),
        ("rl.clip_hihg=0.28", "unknown key 'rl.clip_hihg'; did you mean rl.clip_high"),
        ("rl.max_steps=many", "rl.max_steps"),
        ("-m seed=0,-1", "seed=-1 must be >= 0"),
        ("data=table", "data.path"),
        (
            "-m rl/entropy=none,one_update rl.num_iterations=2 rl.steps_per_generation=2",
            "rl/entropy=none and rl/entropy=one_update are one point: all their settings are the same",
        ),
    ],
)
def test_a_wrong_command_is_refused_before_anything_heavy(tmp_path: Path, command: str, message: str) -> None:
    words = [sys.executable, "-c", PROBE, str(TRAIN), *command.split()]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == "imported:\n"
    assert result.stderr.startswith("refused: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_plan_runs_nothing_and_imports_nothing_heavy(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROBE, str(TRAIN), "--plan", "-m", "rl.clip_high=0.2,0.28"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("imported:\n")
    assert "rl" in result.stdout
    assert not list(tmp_path.glob("**/point.json"))

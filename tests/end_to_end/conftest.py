"""A point small enough to be trained for real in seconds, run as a user runs it: through `python train.py`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
MICRO = [
    "data.size=64", "model.hidden_size=32", "model.intermediate_size=64", "model.num_hidden_layers=2", "model.num_attention_heads=2",
    "model.num_key_value_heads=1", "model.head_dim=null", "model.vocab_size=400", "model.pretrain.texts=200", "model.pretrain.max_steps=3", "sft.max_steps=4",
    "sft.per_device_train_batch_size=8", "rl.max_steps=8", "rl.num_generations=4", "rl.per_device_train_batch_size=8", "rl.steps_per_generation=2",
    "rl.num_iterations=1", "rl.max_completion_length=8", "rl.save_windows=1", "rl.learning_rate=0.01", "prompt.max_tokens=400", "eval.size=4",
    "eval.sampled_size=2", "eval.samples=2", "eval.max_completion_length=8", "eval.resamples=100", "tracking=local",
]  # fmt: skip


class Lab:
    """One root folder and the commands run on it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, *words: str) -> list[str]:
        """Flags first, then the words of a test last, so that they win."""
        flags = [word for word in words if word.startswith("-")]
        # Settings of a stage that is off are refused.
        micro = [word for word in MICRO if not (word.startswith("rl.") and "rl=off" in words)]
        return [sys.executable, "train.py", *flags, *micro, f"root={self.root}", *(word for word in words if word not in flags)]

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "LORE_LAB"))} | {"COLUMNS": "200"}

    def run(self, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """In a process group of its own, so that a test can kill exactly what it wants; `said` has what it printed."""
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with (self.root.parent / "said.txt").open("ab") as said:
            return subprocess.Popen(
                self.command(*words),
                cwd=ROOT,
                env=self.environment(),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def said(self) -> str:
        return (self.root.parent / "said.txt").read_text(errors="replace")

    def points(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted(self.root.glob("points/*/point.json"))]

    def manifests(self, stage: str) -> dict[str, dict]:
        return {path.parent.name: json.loads(path.read_text()) for path in sorted(self.root.glob(f"store/{stage}/*/manifest.json"))}

    def weights(self) -> dict[str, str]:
        """Checksum of the weights of every trained policy, by artifact."""
        return {
            f"{stage}/{key}": manifest["files"]["model.safetensors"]["sha256"]
            for stage in ("base", "sft", "rl")
            for key, manifest in self.manifests(stage).items()
        }

    def metrics(self) -> dict[str, dict]:
        return {record["point"]: record["metrics"] for record in self.points()}

    def curves(self, stage: str) -> pd.DataFrame:
        (path,) = self.root.glob(f"store/{stage}/*/curves.parquet")
        return pd.read_parquet(path)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "outputs")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A finished two-arm sweep, for tests that only look."""
    lab = Lab(tmp_path_factory.mktemp("finished") / "outputs")
    run = lab.run("-m", "rl.clip_high=0.2,0.28")
    assert run.returncode == 0, run.stdout + run.stderr
    return lab


def kill_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(autouse=True)
def no_children_left(lab: Lab) -> Iterator[None]:
    """No test leaves a process behind that computes in its root."""
    yield
    left = subprocess.run(["pgrep", "-f", f"root={lab.root}"], capture_output=True, text=True).stdout.split()
    assert not left, f"processes left: {left}"

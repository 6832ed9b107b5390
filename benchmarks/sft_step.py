"""SFT's steps under each way to compute them: stage `sft` itself, on the same pairs.

    python benchmarks/sft_step.py [--steps 60] [--rounds 3] [key=value ...]

Each variant runs in a process of its own, as a stage does; they take turns. CPU seconds: the median of the steps after the first ten, and what the stage costs beside
them (libraries, pairs put into words, layers compiled). `first` is compiled with nothing kept from before. The losses of the last ten steps say that the same
is computed. The share of fp32's time is of medians over the rounds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lore_lab.config.compose import compose
from lore_lab.stages.context import StageContext
from lore_lab.stages.graph import SPECS, build
from lore_lab.stages.store import Store

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {
    "fp32": [],
    "fp32, 2 groups": ["compute.length_buckets=2"],
    "fp32, compiled": ["compute.compile=true"],
    "bf16": ["compute=bf16"],
    "bf16, 2 groups": ["compute=bf16", "compute.length_buckets=2"],
    "bf16, small tiles": ["compute=bf16", "compute.small_tiles=true"],
    "bf16, compiled": ["compute=bf16", "compute.compile=true"],
    "fast, not compiled": ["compute=fast", "compute.compile=false"],
    "fast, first": ["compute=fast"],
    "compute=fast": ["compute=fast"],
}


class Steps:
    """Curves that note when each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []

    def log(self, step: int, metrics: dict[str, float]) -> None:
        if "loss" in metrics:
            self.times.append(time.process_time())
            self.losses.append(metrics["loss"])


def stage(root: str, folder: Path, steps: int, words: list[str]) -> None:
    """One run of the stage, told as a line of JSON. Runs in its own process."""
    config = compose((*words, f"sft.max_steps={steps}", "compute.device=cpu"))
    node = build(config)["sft"]
    made = build(compose((*plain(words), f"model.attention={config.model.attention}", "compute.device=cpu")))["sft"]
    base, data = (Store(root).find(one.stage, one.key) for one in made.inputs.values())
    assert base is not None
    assert data is not None
    inputs = dict(zip(node.inputs, (base, data), strict=True))
    for name in ("output", "work"):
        (folder / name).mkdir()
    curves = Steps()
    context = StageContext(node.config, inputs, folder / "output", folder / "work", curves, lambda *_: None)
    begun = time.process_time()
    for chosen in node.parts["modules"]:
        importlib.import_module(chosen)
    module, _, function = SPECS["sft"].function.partition(":")
    getattr(importlib.import_module(module), function)(context)
    each = statistics.median(later - earlier for earlier, later in zip(curves.times[9:], curves.times[10:], strict=False))
    print(json.dumps({"step": each, "beside": time.process_time() - begun - steps * each, "loss": statistics.mean(curves.losses[-10:])}))


def plain(words: list[str]) -> list[str]:
    """The words of the run that made base and pairs."""
    return [word for word in words if not word.startswith("compute")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    if arguments.one:
        stage(arguments.one[0], Path(arguments.one[1]), arguments.steps, arguments.words)
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as name:
        made = [
            "rl=off", "sft.max_steps=1", "eval.size=16", "eval.sampled_size=8", "eval.baselines=[]", "eval.stages=[]", "tracking=local", "guard=warn",
        ]  # fmt: skip
        for attention in ("sdpa", "grouped"):  # a property of the policy, so each has a base of its own
            own = [*arguments.words, *made, f"model.attention={attention}", f"root={name}/outputs"]
            subprocess.run([sys.executable, "train.py", *own], cwd=ROOT, check=True)
        for number in range(arguments.rounds):
            for variant, words in VARIANTS.items():
                kept = f"cache{number}" if "fast" in variant else "cache"
                folder = Path(name) / f"{number} {variant}"
                folder.mkdir()
                command = [
                    sys.executable, __file__, "--steps", str(arguments.steps), "--one", f"{name}/outputs", str(folder), *arguments.words, *words,
                ]  # fmt: skip
                run = subprocess.run(command, env=os.environ | {"XDG_CACHE_HOME": f"{name}/{kept}"}, capture_output=True, text=True)
                if run.returncode:
                    raise SystemExit(f"{variant}:\n{run.stderr[-3000:]}")
                found[variant].append(json.loads(run.stdout.splitlines()[-1]))
    median = {variant: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for variant, runs in found.items()}
    print(f"{'variant':28}{'s a step':>10}{'of fp32':>10}{'s beside':>10}{'loss':>8}")
    for variant, own in median.items():
        print(f"{variant:28}{own['step']:10.3f}{own['step'] / median['fp32']['step']:10.2f}{own['beside']:10.1f}{own['loss']:8.4f}")


if __name__ == "__main__":
    main()

"""A stage's steps under each way to compute them: stage `sft` or `rl` itself, on the same pairs.

    python benchmarks/stage_step.py [--stage sft] [--steps 60] [--rounds 3] [--only NAME ...] [key=value ...]

Each variant runs in a process of its own, as a stage does; they take turns. CPU seconds of a step after the first ten, the median (of RL the mean of all after the first
eight, so that each generation batch falls on its eight updates: take a multiple of 8), and what the stage costs beside them (pairs put into words, layers compiled, RL's
probe). `first` is compiled with nothing kept from before. The losses of the last ten steps say that the same is computed; RL's policies drift apart. The share of
fp32's time is of medians over the rounds.
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
from itertools import pairwise
from pathlib import Path

from lore_lab.config.compose import compose
from lore_lab.stages.context import StageContext
from lore_lab.stages.graph import SPECS, build
from lore_lab.stages.store import Store

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {
    "fp32": [],
    "fp32, compiled": ["compute.compile=true"],
    "fp32, whole logits": ["compute.whole_logits=true"],
    "bf16": ["compute=bf16"],
    "bf16, 2 groups": ["compute=bf16", "compute.length_buckets=2"],
    "fast, first": ["compute=fast"],
    "compute=fast": ["compute=fast"],
    "fast, not compiled": ["compute=fast", "compute.compile=false"],
    "fast, in tiles": ["compute=fast", "compute.whole_logits=false"],
    "fast, torch's draws": ["compute=fast", "compute.inverse_draws=false"],
}
#: steps that are left out, what is taken of the others, steps of the policy's SFT
TAKEN = {"sft": (10, statistics.median, 1), "rl": (8, statistics.mean, 300)}


class Steps:
    """Curves that note when each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []

    def log(self, step: int, metrics: dict[str, float]) -> None:
        if "loss" in metrics:
            self.times.append(time.process_time())
            self.losses.append(metrics["loss"])


def stage(name: str, root: str, folder: Path, steps: int, words: list[str]) -> None:
    """One run of the stage, told as a line of JSON. Runs in its own process."""
    left_out, taken, sft = TAKEN[name]
    config = compose((*words, f"{name}.max_steps={steps}", "compute.device=cpu"))
    node = build(config)[name]
    made = build(compose((*plain(words), f"model.attention={config.model.attention}", f"sft.max_steps={sft}", "compute.device=cpu")))[name]
    inputs = {}
    for role, source in made.inputs.items():
        artifact = Store(root).find(source.stage, source.key)
        assert artifact is not None
        inputs[role] = artifact
    for part in ("output", "work"):
        (folder / part).mkdir()
    curves = Steps()
    context = StageContext(node.config, inputs, folder / "output", folder / "work", curves, lambda *_: None)
    import lore_lab.stages.preload  # noqa: F401  (what the fork server loads before any stage)

    begun = time.process_time()
    for chosen in node.parts["modules"]:
        importlib.import_module(chosen)
    module, _, function = SPECS[name].function.partition(":")
    getattr(importlib.import_module(module), function)(context)
    each = taken([later - earlier for earlier, later in pairwise(curves.times[left_out - 1 :])])
    print(json.dumps({"step": each, "beside": time.process_time() - begun - steps * each, "loss": statistics.mean(curves.losses[-10:])}))


def plain(words: list[str]) -> list[str]:
    """The words of the run that made base and pairs."""
    return [word for word in words if not word.startswith("compute")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=list(TAKEN), default="sft")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    if arguments.one:
        stage(arguments.stage, arguments.one[0], Path(arguments.one[1]), arguments.steps, arguments.words)
        return
    chosen = {name: VARIANTS[name] for name in dict.fromkeys(["fp32", *arguments.only])}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as name:
        made = [
            "rl=off", f"sft.max_steps={TAKEN[arguments.stage][2]}", "eval.size=16", "eval.sampled_size=8", "eval.baselines=[]", "eval.stages=[]", "tracking=local", "guard=warn",
        ]  # fmt: skip
        for attention in ("sdpa", "grouped"):  # a property of the policy, so each has a base of its own
            own = [*arguments.words, *made, f"model.attention={attention}", f"root={name}/outputs"]
            subprocess.run([sys.executable, "train.py", *own], cwd=ROOT, check=True)
        for number in range(arguments.rounds):
            for variant, words in chosen.items():
                kept = f"cache{number}" if "fast" in variant else "cache"
                folder = Path(name) / f"{number} {variant}"
                folder.mkdir()
                command = [
                    sys.executable, __file__, "--stage", arguments.stage, "--steps", str(arguments.steps), "--one", f"{name}/outputs", str(folder),
                    *arguments.words, *words,
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

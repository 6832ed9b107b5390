"""How time grows with the points of a sweep, the training pairs, the model and the length of completions; one picture and one table.

    python benchmarks/growth.py [--out docs/results/growth] [--short]

Processor seconds of one thread, for load on the machine lengthens the wall clock; the median of three. Points: `train.py -m seed=range(0,N) --plan`, all of
composing, validating, keys and the store's look-ups. Pairs: drawing, rendering and tokenising prompts and targets of N training pairs, what stages `data` and
`sft` do before the first step. Model and completions: an RL window (generation, old log-probs, eight updates) of the default settings on random weights, as in
rl_step.py. Slope: of a straight line through the logarithms, so 1 is linear. --short: two sizes of each, for CI.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import rl_step
import torch
from bars import bar

from lore_lab.config.compose import compose
from lore_lab.cot import build_recipe
from lore_lab.data.registry import load_source
from lore_lab.prompts.formats import response_format
from lore_lab.prompts.lexicon import lexicon
from lore_lab.prompts.render import Renderer
from lore_lab.stages.graph import plain
from lore_lab.train.base import train_tokenizer
from lore_lab.train.sft import target_ids

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3


def planning(points: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "train.py", "-m", f"seed=range(0,{points})", "--plan", f"root={root}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def preparing(pairs: int) -> float:
    config = compose((f"data.size={pairs}", "prompt=short"))
    source = load_source(plain(config)["data"])
    tokenizer = train_tokenizer(source.texts(2000), config.model.vocab_size, lexicon())
    renderer = Renderer(tokenizer, config.features, config.prompt, source.grades, True, source.guide)
    layout, recipe, draw = response_format("reason_first", len(source.grades)), build_recipe(config.cot), random.Random(0)
    started = time.process_time()
    for example in itertools.islice(source.examples("train"), pairs):
        renderer.ids(example)
        target_ids(tokenizer, layout.render(example.label, recipe.reasoning(example, draw)))
    return time.process_time() - started


def window(words: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        trainer = rl_step.trainer_of(["rl.watch.enabled=false", *words], Path(folder))
        trainer.create_optimizer()
        rl_step.one_window(trainer, 0)  # the first call allocates
        return rl_step.one_window(trainer, 1)


def width(hidden: int) -> float:
    return window([f"model.hidden_size={hidden}", f"model.intermediate_size={2 * hidden}"])


def completions(length: int) -> float:
    """Every completion has `length` tokens."""
    rl_step.LENGTHS = (length, 0, length, length)
    return window([f"rl.max_completion_length={length}"])


#: axis -> (sizes, seconds of one)
AXES: dict[str, tuple[tuple[int, ...], Callable[[int], float]]] = {
    "points planned": ((10, 30, 100), planning),
    "training pairs": ((1600, 6400, 25600), preparing),
    "hidden size": ((64, 128, 256), width),
    "tokens a completion": ((16, 32, 64, 128), completions),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "growth")
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for axis, (sizes, seconds) in AXES.items():
        for size in sizes[:2] if arguments.short else sizes:
            rows.append({"axis": axis, "size": size, "seconds": statistics.median(seconds(size) for _ in range(ROUNDS))})
            print(f"{axis:22}{size:>8}{rows[-1]['seconds']:9.2f} s", flush=True)
    table = pd.DataFrame(rows)
    figure, places = plt.subplots(1, len(AXES), figsize=(13, 3), layout="constrained")
    for place, (axis, part) in zip(places, table.groupby("axis", sort=False), strict=True):
        slope = np.polyfit(np.log(part["size"]), np.log(part["seconds"]), 1)[0]
        bar(f"growth with {axis}, exponent", slope)
        place.loglog(part["size"], part["seconds"], "o-")
        place.set(xlabel=axis, title=f"slope {slope:.2f}")
        place.set_xticks(part["size"], [str(size) for size in part["size"]], minor=False)
        place.minorticks_off()
    places[0].set_ylabel("CPU seconds")
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out / "points.csv", index=False, float_format="%.3f")
    figure.savefig(arguments.out / "growth.png", dpi=110)


if __name__ == "__main__":
    main()

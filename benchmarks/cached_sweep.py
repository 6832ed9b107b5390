"""A sweep of which everything is there already: what compose, keys, the store's look-ups, the records, the table and the pictures cost.

    python benchmarks/cached_sweep.py [--points 100]

Micro points that differ in their evaluation alone are computed once (minutes), then the same command runs again, three times. Bar: 15 s for 100.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bars import bar

ROOT = Path(__file__).resolve().parents[1]
MICRO = [
    "data.size=64", "model.hidden_size=32", "model.intermediate_size=64", "model.num_hidden_layers=2", "model.num_attention_heads=2",
    "model.num_key_value_heads=1", "model.head_dim=null", "model.vocab_size=400", "model.pretrain.texts=200", "model.pretrain.max_steps=3", "sft.max_steps=4",
    "sft.per_device_train_batch_size=8", "rl=off", "prompt.max_tokens=160", "eval.size=4", "eval.sampled_size=2", "eval.samples=2",
    "eval.max_completion_length=8", "eval.baselines=[]", "tracking=local",
]  # fmt: skip


def run(points: int, root: str) -> tuple[float, float]:
    """(wall, CPU) seconds of the whole command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "train.py", "-m", *MICRO, f"eval.resamples=range(100,{100 + points})", f"root={root}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        print(f"computed: {run(arguments.points, root)[0]:.1f} s", flush=True)
        found = [run(arguments.points, root) for _ in range(3)]
    wall, processor = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"{wall:.1f} s wall (medians of 3)")
    bar(f"{arguments.points} points, everything cached, CPU", processor, at_most=15, unit=" s")


if __name__ == "__main__":
    main()

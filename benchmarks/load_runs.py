"""How long 1,000 points take to load and to report, and whether the time grows linearly: python benchmarks/load_runs.py [--points 250 500 1000]

Writes invented runs (one RL stage of 100 steps and 30 curves each) to a temporary folder and reads them back.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "analysis"))

import numpy as np
from bars import bar
from fake_tree import write_sweep

from lore_lab.analysis import load_curves, load_runs, write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[250, 500, 1000])
    arguments = parser.parse_args()
    seconds = []
    for count in arguments.points:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            arms = [f"{0.2 + i / 1000:.3f}" for i in range(count // 5)]
            write_sweep(root, {"rl.clip_high": arms, "seed": list("01234")}, steps=100, examples=4, extra_curves=25)
            start = time.perf_counter()
            runs = load_runs(root, "s1")
            loaded = time.perf_counter()
            two = load_curves(runs, ["rl/entropy", "rl/reward"])
            some = time.perf_counter()
            everything = load_curves(runs)
            end = time.perf_counter()
            report = write_report(root, "s1", root / "report.html")
            written = time.perf_counter()
            seconds.append(loaded - start)
            size = report.stat().st_size / 1e6
            print(f"{len(runs)} points: runs {loaded - start:.2f} s, 2 curves {some - loaded:.2f} s ({len(two):,} rows),", end=" ")
            print(f"all curves {end - some:.2f} s ({len(everything):,} rows), report {written - end:.2f} s ({size:.1f} MB)")
    bar(f"`load_runs` over {len(runs):,} points", seconds[-1], at_most=5, unit=" s")
    bar("its growth with points, exponent", np.polyfit(np.log(arguments.points), np.log(seconds), 1)[0], at_most=1.2)


if __name__ == "__main__":
    main()

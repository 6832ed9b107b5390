"""The bars of docs/performance.md, all in one table.

    python benchmarks/bars.py [--short] [--only NAME ...]

Runs the benchmarks one after another, each a process of its own, and collects what they say of their bars. --short: sizes of minutes, for CI; it shows that
every benchmark works, while its figures are of no size a bar is about. Exit code 1 where a benchmark fails (not where a bar is missed: machines differ).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLLECTED = "LORE_LAB_BARS"
LITTLE = ("sft.max_steps=20", "model.pretrain.max_steps=20", "model.pretrain.texts=500", "data.size=300")
#: benchmark -> words of the full form, words of the short one
FORMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "startup": ((), ("--rounds", "1")),
    "cached_sweep": ((), ("--points", "5")),
    "load_runs": ((), ("--points", "50", "100")),
    "overheads": ((), (*LITTLE, "rl.max_steps=8", "eval.size=16", "eval.sampled_size=8")),
    "rl_step": (("--windows", "5"), ("--windows", "1", "--arms", "watch")),
    "rl_vs_trl": (("--windows", "5"), ("--windows", "1", *LITTLE)),
    "evaluation": (("--requests", "50"), ("--pairs", "40", "--requests", "2", "--rounds", "1", *LITTLE)),
    "growth": ((), ("--short", "--out", "growth")),
    "vs_plain_trl": (("--lab", "compute=fast"), ("--short",)),
}


def bar(what: str, figure: float, at_most: float | None = None, at_least: float | None = None, unit: str = "") -> bool:
    """Print `figure` beside its bar, hand it to the table where there is one, and say whether the bar is met (True without a bar)."""
    met = (at_most is None or figure <= at_most) and (at_least is None or figure >= at_least)
    limit = f"at most {at_most:g}{unit}" if at_most is not None else f"at least {at_least:g}{unit}" if at_least is not None else ""
    print(f"{what}: {figure:.3g}{unit}" + (f" (bar: {limit}, {'met' if met else 'not met'})" if limit else ""), flush=True)
    if COLLECTED in os.environ:
        with Path(os.environ[COLLECTED]).open("a") as stream:
            stream.write(json.dumps({"what": what, "figure": f"{figure:.3g}{unit}", "bar": limit, "met": met}) + "\n")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(FORMS), choices=list(FORMS), metavar="NAME", help=", ".join(FORMS))
    arguments = parser.parse_args()
    rows, failed = [], 0
    for name in arguments.only:
        words = FORMS[name][arguments.short]
        with tempfile.TemporaryDirectory() as folder:
            found = Path(folder) / "bars.jsonl"
            started = time.perf_counter()
            command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *words]
            run = subprocess.run(command, cwd=folder, env=os.environ | {COLLECTED: str(found)}, capture_output=True, text=True)
            said = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
        failed += run.returncode != 0
        print(f"{name}: exit code {run.returncode}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        if run.returncode:
            print(run.stdout[-1000:], run.stderr[-3000:], sep="\n", file=sys.stderr, flush=True)
        told = f"`python benchmarks/{' '.join([name + '.py', *words])}`"
        rows += [(row["what"], row["bar"], row["figure"], _state(row, arguments.short), told) for row in said]
    for row in [("what", "bar", "figure", "state", "command"), ("---",) * 5, *rows]:
        print("| " + " | ".join(row) + " |")
    sys.exit(int(failed > 0))


def _state(row: dict[str, str], short: bool) -> str:
    if short or not row["bar"]:
        return ""
    return "met" if row["met"] else "**not met**"


if __name__ == "__main__":
    main()

"""What a command costs before anything is computed: `--cfg job` and a refused sweep, against a bare Hydra app.

    python benchmarks/startup.py [--rounds 5]

Processor seconds of whole commands, imports included, the four taking turns; medians. Bar: 2 times the bare app.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bars import bar

ROOT = Path(__file__).resolve().parents[1]
BARE = """
import hydra

@hydra.main(config_path=None, version_base="1.3")
def main(config):
    pass

main()
"""
REFUSED = "rl.clip_high=0.2,0.28", "rl.num_iterations=1", "rl.steps_per_generation=1", "rl.gradient_accumulation_steps=1"


def spent(command: list[str], folder: Path, fails: bool) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if (run.returncode != 0) != fails:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bare.py").write_text(BARE)
        ours, root = str(ROOT / "train.py"), f"root={folder}/outputs"
        commands = {
            "bare": (["bare.py", "--cfg", "job"], False),
            "shown": ([ours, "--cfg", "job"], False),
            "bare sweep": (["bare.py", "-m", "+a=1,2"], False),
            "refused": ([ours, "-m", root, *REFUSED], True),
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(arguments.rounds + 1):
            for name, (command, fails) in commands.items():
                seconds = spent(command, folder, fails)
                if number:  # the first round writes byte code
                    times[name].append(seconds)
    medians = {name: statistics.median(found) for name, found in times.items()}
    print("CPU seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in medians.items()))
    bar("`--cfg job` against a bare Hydra app, CPU", medians["shown"] / medians["bare"], at_most=2)
    bar("a refused sweep against a bare app under `-m`, CPU", medians["refused"] / medians["bare sweep"], at_most=2)


if __name__ == "__main__":
    main()

"""What the lab's own book-keeping takes of a point: processor seconds, as a share of the whole point's.

    python benchmarks/overheads.py [WORD ...]

One point of `python train.py WORD ...` in an empty root, nothing cached. Counted as book-keeping: all that the command's own process does
(composing, guards, keys, the executor, records), W&B's mirror process offline, and in every stage the calls into the store, the curves on disk and
the check of the code. Imports of the stages are not in it, a bare script has them too; that of wandb is. Processor seconds, for the machine is shared. Bar: 3 % of the default point.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bars import bar
from hydra import compose, initialize_config_dir

import lore_lab.stages.preload  # noqa: F401  (what the fork server loads before any stage)
from lore_lab import command
from lore_lab.config.overrides import CONF
from lore_lab.config.schema import register
from lore_lab.stages import executor, mirrors, worker
from lore_lab.stages.store import Store
from lore_lab.tracking.local import CurveWriter

#: what stages call of the book-keeping: shown name -> (owner, attribute)
CALLS: dict[str, list[tuple[Any, str]]] = {
    "store": [(Store, "find"), (Store, "commit")],
    "curves": [(CurveWriter, "log"), (CurveWriter, "close"), (worker, "finish_curves")],
    "code check": [(worker, "code_hash")],
}


def cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def timed(call: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def measured(*words: Any, **named: Any) -> Any:
        start = time.thread_time()
        try:
            return call(*words, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.thread_time() - start

    return measured


def reporting(target: Callable[..., Any], folder: Path, name: str, spent: dict[str, float] | None) -> Callable[..., Any]:
    """`target` as a process's entry that leaves a file on what it spent: `spent` by name, or all its processor time under `name`."""

    def run(*words: Any) -> None:
        if spent is not None:
            spent.clear()
        try:
            target(*words)
        finally:
            whole = {name: cpu(resource.RUSAGE_SELF) + cpu(resource.RUSAGE_CHILDREN)}
            (folder / f"{name}-{os.getpid()}.json").write_text(json.dumps(whole if spent is None else spent))

    return run


def main() -> None:
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        reports, spent = Path(folder) / "reports", dict[str, float]()
        reports.mkdir()
        for name, calls in CALLS.items():
            for owner, attribute in calls:
                setattr(owner, attribute, timed(getattr(owner, attribute), spent, name))
        # A plain fork hands what was just wrapped to the stages; the fork server would import it anew.
        executor.process_context = lambda *_: multiprocessing.get_context("fork")  # type: ignore[assignment, return-value]
        executor.run_stage = reporting(executor.run_stage, reports, "stage", spent)
        mirrors.follow = reporting(mirrors.follow, reports, "W&B mirror", None)
        register()
        before = cpu(resource.RUSAGE_SELF)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=[*words, f"root={folder}/root", "tracking.wandb=offline"])
        if command.run_single(config, words):
            raise SystemExit("the point failed")
        shares = {"command": cpu(resource.RUSAGE_SELF) - before}
        for report in reports.iterdir():
            for name, seconds in json.loads(report.read_text()).items():
                shares[name] = shares.get(name, 0.0) + seconds
        whole = shares["command"] + cpu(resource.RUSAGE_CHILDREN)
    for name, seconds in [*shares.items(), ("all book-keeping", sum(shares.values()))]:
        print(f"{name:18}{seconds:8.2f} s{100 * seconds / whole:7.2f} %")
    print(f"{'the whole point':18}{whole:8.2f} s")
    bar("tracking, guards, records and the store, share of a point's CPU", 100 * sum(shares.values()) / whole, at_most=3, unit=" %")


if __name__ == "__main__":
    main()

"""W&B beside the local files: a process per point follows the point's curves and repeats them to one W&B run.

The local record is complete without it, so a W&B that is slow, broken or absent costs a warning and never a result. A process of its
own, because W&B keeps global state and a sweep has several points open at once.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lore_lab.tracking.folders import work_folder
from lore_lab.tracking.local import read_table

_FOLLOW_SECONDS = 3.0


def git_commit() -> str:
    """Commit of the lab's checkout, "+dirty" with local changes, "unknown" outside one."""
    folder = Path(__file__).resolve().parent
    try:
        run = [
            subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, timeout=10, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run[0].strip() + ("+dirty" if run[1].strip() else "")


def _mode(mode: str) -> Any:
    if mode != "auto":
        return mode
    netrc = Path.home() / ".netrc"
    key = os.environ.get("WANDB_API_KEY") or (netrc.is_file() and "api.wandb.ai" in netrc.read_text(encoding="utf-8", errors="replace"))
    return "online" if key else "offline"


def follow(job: dict[str, Any], connection: Connection) -> None:
    """Entry of the mirror process: one W&B run, stage by stage, until the outcome comes over `connection`."""
    folder, root = Path(job["folder"]), Path(job["root"])
    stream = (folder / "wandb.txt").open("a", buffering=1, encoding="utf-8")
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    os.environ["WANDB_SILENT"] = "true"
    import wandb

    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl", "wandb")}
    run = wandb.init(
        id=job["id"], name=job["name"], group=job["group"], project=job["project"], entity=job["entity"], dir=str(folder), resume="allow",
        mode=_mode(job["mode"]), config=job["config"] | {"versions": versions, "commit": git_commit()}, reinit="create_new",
        settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True),
    )  # fmt: skip
    for stage, _ in job["stages"]:
        run.define_metric(f"{stage}/step")
        run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
    sent: dict[str, int] = {}
    outcome = None
    while outcome is None:
        if connection.poll(_FOLLOW_SECONDS):
            try:
                outcome = connection.recv()
            except EOFError:
                outcome = ("failed", {})
        for stage, key in job["stages"]:
            _repeat(run, stage, root / "store" / stage / key, work_folder(root, stage, key), sent)
    state, metrics = outcome
    run.summary.update(metrics)
    run.finish(exit_code=0 if state == "done" else 1)


def _repeat(run: Any, stage: str, finished: Path, work: Path, sent: dict[str, int]) -> None:
    """Log the steps of a stage that were not logged yet. The last step of a running stage waits: it may not be whole."""
    folder = finished if finished.is_dir() else work
    if not folder.is_dir() or sent.get(stage) == sys.maxsize:
        return
    last = sent.get(stage, -1)
    steps: dict[int, dict[str, float]] = {}
    for row in read_table(folder).to_pylist():
        if row["step"] > last:
            steps.setdefault(row["step"], {})[row["name"]] = row["value"]
    ready = sorted(steps) if folder is finished else sorted(steps)[:-1]
    for step in ready:
        run.log({f"{stage}/step": step, **steps[step]})
    sent[stage] = sys.maxsize if folder is finished else max([last, *ready])

"""Runs one stage in a fresh process, forked from a server that has the heavy libraries loaded already.

A fork costs tens of milliseconds where an import of torch and TRL costs seconds, and every stage still starts from the same state:
no generator, tracker or device context leaks from one stage into the next.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import platform
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lore_lab.stages.context import StageContext
from lore_lab.stages.keys import code_hash
from lore_lab.stages.ranks import die_with_parent, run_ranks
from lore_lab.stages.store import Artifact, Store
from lore_lab.tracking.local import CurveWriter, finish_curves

#: loaded once by the fork server; stages that need none of it pay nothing either
_PRELOAD = "lore_lab.stages.preload"
#: what the server also loads for a stage's module, which comes to nothing before that is imported
_MADE_READY = {"lore_lab.train.compiled": "lore_lab.train.compiler"}


def process_context(modules: Collection[str] = ()) -> multiprocessing.context.ForkServerContext:
    """modules: of the stages that will run."""
    # A child sets its parent's start method first, and a launcher's own (joblib's loky) is unknown there.
    multiprocessing.set_start_method("forkserver", force=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOAD, *(ready for module, ready in _MADE_READY.items() if module in modules)])
    return context


def _redirect(log: Path) -> None:
    stream = log.open("a", buffering=1, encoding="utf-8")
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = stream


def run_stage(job: Mapping[str, Any], connection: Connection) -> None:
    """Entry of the child process. Reports over `connection`: ("progress", done, total, text), then ("done" | "failed", text).

    job: root, work (the stage's own folder; its parent process holds the lease), stage, role, key, function, config, parts,
    inputs (name -> (stage, key)), devices (for CUDA_VISIBLE_DEVICES; empty where the stage needs none).
    """
    die_with_parent()
    work = Path(job["work"])
    try:
        _redirect(work / "log.txt")
        if job["devices"]:  # before anything asks CUDA what there is
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(job["devices"])
        _compute(Store(job["root"]), job, work, connection)
        connection.send(("done", ""))
    except BaseException as error:
        traceback.print_exc()
        sys.stdout.flush()
        connection.send(("failed", f"{error.__class__.__name__}: {error}"))
        if not isinstance(error, Exception):
            raise


def _compute(store: Store, job: Mapping[str, Any], work: Path, connection: Connection) -> None:
    stage, key = job["stage"], job["key"]
    started = time.perf_counter()
    if code_hash(job["parts"]["modules"]) != job["parts"]["code"]:
        raise RuntimeError("the lab's code was edited after this command planned its stages; run the command again")
    inputs = {name: _input(store, *reference) for name, reference in job["inputs"].items()}
    output = work / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    curves = CurveWriter(work, job["role"] if stage == "eval" else stage)
    context = StageContext(
        config=job["config"],
        inputs=inputs,
        output=output,
        work=work,
        curves=curves,
        progress=lambda done, total, text: connection.send(("progress", done, total, text)),
        shared=store.root / "shared",
    )
    module, _, name = job["function"].partition(":")
    for chosen in job["parts"]["modules"]:  # some make themselves known where they are imported
        importlib.import_module(chosen)

    def die(text: str) -> None:
        connection.send(("failed", text))
        os._exit(1)

    processes = job["config"].get("compute", {}).get("processes") or 1
    metrics = run_ranks(getattr(importlib.import_module(module), name), context, processes, die)
    curves.close()
    finish_curves(work, output)
    previous = _attempts(work)
    manifest = {
        "config": job["config"],
        "inputs": {name: reference[1] for name, reference in job["inputs"].items()},
        "code": job["parts"]["code"],
        "versions": job["parts"]["versions"],
        "metrics": metrics,
        "seconds": round(time.perf_counter() - started, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "attempts": previous["attempts"],
        "resumed_from": previous["resumed_from"],
    }
    store.commit(stage, key, output, manifest)
    shutil.rmtree(work, ignore_errors=True)


def _attempts(work: Path) -> dict[str, Any]:
    """How often the stage was started, and the optimizer step the last start continued from (null: from the beginning)."""
    resumed = work / "resumed.json"
    return {
        "attempts": len(list(work.glob("curves-*.arrow"))),
        "resumed_from": json.loads(resumed.read_text())["step"] if resumed.is_file() else None,
    }


def _input(store: Store, stage: str, key: str) -> Artifact:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        artifact = store.find(stage, key)
    if artifact is None:
        raise FileNotFoundError(f"input {stage}-{key} is gone{': ' + str(caught[0].message) if caught else ''}; run the command again")
    return artifact

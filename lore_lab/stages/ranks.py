"""A training stage as several processes of one machine: Hydra outside, accelerate inside.

The stage's own process is rank 0, the others are its forks and run the same stage function. accelerate finds the ranks in the environment, as
under `accelerate launch`. Only rank 0 writes curves, checkpoints and the artifact.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from lore_lab.stages.context import StageContext

_GRACE = 20.0  #: seconds in which rank 0 may notice by itself that another one is gone, and end in order


class NoCurves:
    """Takes the place of the curves where a rank has nothing to say."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing is written."""


def run_ranks(
    function: Callable[[StageContext], dict[str, Any]], context: StageContext, processes: int, die: Callable[[str], None]
) -> dict[str, Any]:
    """What `function` returns in rank 0. die: ends this process with a message, when another rank is gone and rank 0 waits for it.

    Raises RuntimeError naming the rank that failed.
    """
    if processes == 1:
        return function(context)
    port, fork = _free_port(), multiprocessing.get_context("fork")
    # This process was forked with the libraries loaded and has computed nothing yet, so its forks are what it is.
    others = [fork.Process(target=_other, args=(function, context, rank, processes, port), daemon=True) for rank in range(1, processes)]
    for other in others:
        other.start()
    over = threading.Event()
    threading.Thread(target=_watch, args=(others, over, die), daemon=True).start()
    _enter(0, processes, port)
    try:
        metrics = function(context)
        for other in others:
            other.join()
    except Exception as error:
        for other in others:
            other.join(_GRACE / 4)
        if failed := _failed(others):
            raise RuntimeError(failed) from error
        raise
    finally:
        over.set()
        for other in others:
            other.terminate()
    if failed := _failed(others):
        raise RuntimeError(failed)
    return metrics


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _enter(rank: int, processes: int, port: int) -> None:
    """Say in the environment which rank this is."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({name: str(value) for name, value in ranks.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})


def _other(function: Callable[[StageContext], dict[str, Any]], context: StageContext, rank: int, processes: int, port: int) -> None:
    die_with_parent()
    _enter(rank, processes, port)
    try:
        function(replace(context, curves=NoCurves(), progress=lambda done, total, text: None, rank=rank))
    except BaseException:
        print(f"rank {rank}:")
        traceback.print_exc()
        raise


def _watch(others: list[Any], over: threading.Event, die: Callable[[str], None]) -> None:
    """A rank that waits for one that is gone may wait for half an hour."""
    left = {other.sentinel: other for other in others}
    while left:
        for gone in wait(list(left)):
            left.pop(gone).join()  # the sentinel closes a moment before the exit code is there
        if failed := _failed(others):
            if not over.wait(_GRACE):
                die(failed)
            return


def die_with_parent() -> None:
    """Leave when the parent process is gone, so that a killed command leaves nothing behind that computes."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_for_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()


def _failed(others: list[Any]) -> str:
    """What became of the first rank that did not end well; empty while all is well."""
    codes = {rank: other.exitcode for rank, other in enumerate(others, start=1) if other.exitcode}
    return "; ".join(f"rank {rank} of {len(others) + 1} ended with exit code {code}; the log has its trace" for rank, code in codes.items())

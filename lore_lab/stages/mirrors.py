"""Starts and ends the W&B mirrors of the points in flight. A mirror that fails costs a warning, never a result."""

from __future__ import annotations

import sys
import time
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from lore_lab.stages.graph import TRAINED
from lore_lab.stages.records import Point, PointRecord
from lore_lab.stages.store import Store
from lore_lab.tracking.wandb_mirror import follow

_FINISH_SECONDS = 60.0


class Mirrors:
    """The mirror processes of a run. A context manager; leaving it waits for them, for a bounded time."""

    def __init__(self, context: Any, store: Store, sweep: str | None) -> None:
        self._context, self._store, self._sweep = context, store, sweep
        self._open: dict[str, tuple[Any, Connection, PointRecord]] = {}

    def __enter__(self) -> Mirrors:
        return self

    def start(self, point: Point, record: PointRecord) -> None:
        """Begin to follow a point; again is without effect."""
        if point.key in self._open or point.config.tracking.wandb == "disabled":
            return
        tracking = point.config.tracking
        job = {
            "id": point.key,
            "name": point.title,
            "group": self._sweep,
            "mode": tracking.wandb,
            "project": tracking.project,
            "entity": tracking.entity,
            "folder": str(record.folder),
            "root": str(self._store.root),
            "config": record.content["config"] | {"overrides": list(point.overrides)},
            "stages": [
                (node.stage, node.key) for node in point.nodes.values() if node.stage in ("base", "vision", *TRAINED, "student", "distill")
            ],
        }
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=follow, args=(job, receiver), daemon=True)
        process.start()
        receiver.close()
        self._open[point.key] = (process, sender, record)

    def finish(self, point: Point, record: PointRecord, state: str) -> None:
        """Tell the point's mirror the outcome. A point that was complete before is mirrored once, then left alone."""
        if point.key not in self._open and not record.content["mirrored"] and state == "done":
            self.start(point, record)
        if point.key in self._open:
            _, sender, _ = self._open[point.key]
            try:
                sender.send((state, record.content["metrics"]))
            except OSError:
                return  # the mirror died; its log says why
            record.write(mirrored=state == "done")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        deadline = time.monotonic() + (_FINISH_SECONDS if kind is None else 0.0)
        for process, sender, record in self._open.values():
            sender.close()
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.terminate()
            if process.exitcode != 0:
                record.write(mirrored=False)
                print(f"warning: W&B did not take everything of {record.content['point']}; see {record.folder}/wandb.txt", file=sys.stderr)

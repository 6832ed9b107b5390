"""Runs the stages of one or many points: each stage once, as soon as its inputs are there, on a fixed number of workers.

The unit is the stage, so a sweep keeps its workers busy without two points waiting for one another, and a failed or killed stage
takes down exactly the points that need it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from lore_lab.stages.gpus import Gpus, gpus_needed
from lore_lab.stages.graph import SPECS, Node
from lore_lab.stages.lease import Lease
from lore_lab.stages.mirrors import Mirrors
from lore_lab.stages.progress import Progress
from lore_lab.stages.records import Point, PointRecord, now, point_metrics
from lore_lab.stages.store import Store
from lore_lab.stages.worker import process_context, run_stage

_POLL_SECONDS = 0.5
_STOP_SECONDS = 10.0


@dataclass
class _Task:
    """A stage to compute. owner: the first point that needs it. lease: the right to compute it. gpus: those it holds while it runs."""

    node: Node
    owner: Point
    lease: Lease
    state: str = "pending"  # pending | running | done | failed
    cached: bool = False
    seconds: float = 0.0
    error: str | None = None
    log: Path | None = None
    busy_until: float = 0.0
    process: Any = None
    connection: Connection | None = None
    started: float = 0.0
    gpus: list[str] = field(default_factory=list)
    gates: list[Node] = field(default_factory=list)  #: of the points that share it; one that passed is enough


@dataclass
class Executor:
    """workers: stages computed at once. progress: where to say what happens. gpus: what stages that use a GPU take theirs from."""

    store: Store
    workers: int
    progress: Progress
    gpus: Gpus = field(default_factory=lambda: Gpus(()))
    _tasks: dict[str, _Task] = field(default_factory=dict)
    _records: dict[str, PointRecord] = field(default_factory=dict)

    def run(self, points: Sequence[Point], sweep: str | None = None) -> dict[str, str]:
        """Compute what is missing. Returns the state, "done" or "failed", of every point by key."""
        unique = {point.key: point for point in points}
        for point in unique.values():
            for node in point.targets:
                self._need(node, point)
            self._records[point.key] = record = PointRecord(self.store.root, point)
            record.claim()
        context = process_context({name for task in self._tasks.values() if not task.cached for name in task.node.parts["modules"]})
        open_points, states = dict(unique), dict[str, str]()
        with Mirrors(context, self.store, sweep) as mirrors, self.progress, self._cleanup():
            while open_points:
                for key, state in self._finished(open_points):
                    point = open_points.pop(key)
                    states[key] = state
                    self._close(point, state, mirrors)
                if open_points:
                    self._start_ready(context, mirrors)
                    self._listen()
        return states

    def _need(self, node: Node, point: Point) -> None:
        """Queue `node` and, where it is not in the store, what it needs."""
        if node.id in self._tasks:
            self._tasks[node.id].gates += [node.gate] if node.gate else []
            return
        if self.store.find(node.stage, node.key) is not None:
            self._tasks[node.id] = _Task(node, point, self.store.lease(node.stage, node.key), state="done", cached=True)
            return
        for source in node.inputs.values():
            self._need(source, point)
        self._tasks[node.id] = _Task(node, point, self.store.lease(node.stage, node.key), gates=[node.gate] if node.gate else [])
        if node.gate:
            self._need(node.gate, point)

    def _finished(self, points: dict[str, Point]) -> list[tuple[str, str]]:
        """Points that are complete, and points that cannot become so and have nothing running any more."""
        found = []
        for key, point in points.items():
            tasks = [self._tasks[node.id] for node in point.nodes.values() if node.id in self._tasks]
            if all(self._tasks[node.id].state == "done" for node in point.targets):
                found.append((key, "done"))
            elif any(task.state == "failed" for task in tasks) and not any(
                task.state == "running" or self._runnable(task) for task in tasks
            ):
                found.append((key, "failed"))
        return found

    def _runnable(self, task: _Task) -> bool:
        ready = all(self._state(source) == "done" for source in task.node.inputs.values())
        return task.state == "pending" and ready and (not task.gates or any(self._state(gate) == "done" for gate in task.gates))

    def _state(self, node: Node) -> str:
        return self._tasks[node.id].state if node.id in self._tasks else "done"

    def _start_ready(self, context: Any, mirrors: Mirrors) -> None:
        running = sum(task.state == "running" for task in self._tasks.values())
        for task in self._tasks.values():
            if running >= self.workers:
                return
            if not self._runnable(task) or task.busy_until > time.monotonic():
                continue
            if not self._take(task):
                task.busy_until = time.monotonic() + _POLL_SECONDS
                continue
            if self.store.find(task.node.stage, task.node.key) is not None:  # another process made it meanwhile
                task.state, task.cached = "done", True
                self._give(task)
                continue
            self._start(task, context)
            mirrors.start(task.owner, self._records[task.owner.key])
            running += 1

    def _take(self, task: _Task) -> bool:
        """What the stage needs to itself: GPUs, and the right to compute it. False while somebody else has it."""
        gpus = self.gpus.take(gpus_needed(task.node.config.get("compute", {})))
        if gpus is None:
            return False
        task.gpus = gpus
        if not task.lease.acquire():
            self._give(task)
            return False
        return True

    def _give(self, task: _Task) -> None:
        task.lease.release()
        self.gpus.give(task.gpus)
        task.gpus = []

    def _start(self, task: _Task, context: Any) -> None:
        node = task.node
        receiver, sender = context.Pipe(duplex=False)
        assert task.lease.token is not None
        work = self.store.take_work(node.stage, node.key, task.lease.token)
        job = {
            "root": str(self.store.root),
            "work": str(work),
            "devices": task.gpus,
            "stage": node.stage,
            "role": node.role,
            "key": node.key,
            "function": SPECS[node.stage].function,
            "config": dict(node.config),
            "parts": dict(node.parts),
            "inputs": {name: (source.stage, source.key) for name, source in node.inputs.items()},
        }
        task.process = context.Process(target=run_stage, args=(job, sender), daemon=False)
        task.process.start()
        sender.close()
        task.connection, task.state, task.started = receiver, "running", time.monotonic()
        task.log = work / "log.txt"
        record = self._records[task.owner.key]
        record.write(state="running", started=record.content["started"] or now())
        self.progress.start(node.id, f"{node.role} · {task.owner.title}")

    def _listen(self) -> None:
        running = {task.connection: task for task in self._tasks.values() if task.state == "running"}
        if not running:
            time.sleep(_POLL_SECONDS / 5)
            return
        ready = wait(list(running), timeout=_POLL_SECONDS)  # type: ignore[arg-type]
        for task in running.values():
            if task.lease.lost:  # this process slept too long, and another one took over: what it makes is as good
                self._stop(task)
                self._finish(task, "pending", "")
        for connection in ready:
            task = running[connection]  # type: ignore[index]
            if task.state != "running":
                continue
            try:
                kind, *content = task.connection.recv()  # type: ignore[union-attr]
            except EOFError:
                task.process.join()
                self._finish(task, "failed", f"killed ({_exit_text(task.process.exitcode)})")
                continue
            if kind == "progress":
                self.progress.update(task.node.id, *content)
            else:
                task.process.join()
                self._finish(task, kind, *content)

    def _finish(self, task: _Task, kind: str, text: str) -> None:
        task.seconds = time.monotonic() - task.started
        if task.connection is not None:
            task.connection.close()
        task.process = task.connection = None
        self._give(task)
        if kind == "pending":
            task.state = "pending"
        elif kind == "done" and self.store.find(task.node.stage, task.node.key) is not None:
            task.state = "done"
        else:
            task.state, task.error = "failed", text or "finished, but its artifact cannot be read"
        self.progress.finish(task.node.id, task.state, task.seconds, task.error)

    def _close(self, point: Point, state: str, mirrors: Mirrors) -> None:
        """Write the point's last record."""
        record = self._records[point.key]
        tasks = {role: self._tasks[node.id] for role, node in point.nodes.items() if node.id in self._tasks}
        failed = next((task for task in tasks.values() if task.state == "failed"), None)
        seconds = 0.0
        stages = [dict(stage) for stage in record.content["stages"]]
        for stage in stages:
            task = tasks.get(stage["role"])
            computed = task is not None and not task.cached and task.owner is point
            if task is None or task.state == "done":
                stage["state"] = "done"
                stage["cached"] = stage["cached"] or (not computed and stage["seconds"] == 0.0)
            if task is not None and computed:
                stage |= {"state": task.state, "cached": False, "seconds": round(task.seconds, 3)} | self._history(task.node)
                seconds += task.seconds
        metrics = point_metrics(self.store, point)
        record.write(
            state=state,
            finished=now(),
            started=record.content["started"] or now(),
            seconds=round(record.content["seconds"] + seconds, 3),
            stages=stages,
            metrics=metrics,
            error=failed.error if failed else None,
            log=str(failed.log) if failed else None,
        )
        mirrors.finish(point, record, state)
        record.release()

    def _history(self, node: Node) -> dict[str, Any]:
        """How often a finished stage was started, and the step its last start continued from."""
        artifact = self.store.find(node.stage, node.key)
        return {name: artifact.manifest[name] for name in ("attempts", "resumed_from")} if artifact else {}

    def _stop(self, task: _Task) -> None:
        task.process.terminate()
        task.process.join(_STOP_SECONDS)
        task.process.kill()
        task.process.join()

    @contextmanager
    def _cleanup(self) -> Iterator[None]:
        """Whatever ends the run, no child outlives it and no lock stays."""
        try:
            yield
        finally:
            for task in self._tasks.values():
                if task.process is not None:
                    self._stop(task)
                    self._give(task)
            for record in self._records.values():
                record.release()


def _exit_text(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

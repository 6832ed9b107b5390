"""What is written down of points and sweeps, beside the artifacts: small JSON files, replaced whole.

points/<key>/point.json   state, stages with times and whether they were cached, metrics, resolved config
sweeps/<id>/sweep.json    the command, its axes, its points
"""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lore_lab.config.schema import Config
from lore_lab.stages.graph import TARGETS, Node, build, plain, point_key
from lore_lab.stages.keys import digest
from lore_lab.stages.lease import Lease
from lore_lab.stages.store import Store, write_json

_WRITER = "writer.lease"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Point:
    """One resolved config, with its stages and the overrides that made it. arm: what an experiment calls it."""

    key: str
    config: Config
    overrides: tuple[str, ...]
    nodes: Mapping[str, Node] = field(repr=False)
    arm: str = ""

    @classmethod
    def of(cls, config: Config, overrides: Sequence[str]) -> Point:
        nodes = build(config)
        return cls(point_key(nodes), config, tuple(overrides), nodes)

    @property
    def title(self) -> str:
        """What sets the point apart, for people: its arm and seed, or its overrides without those that cannot change a result."""
        if self.arm:
            return f"{self.arm} seed={self.config.seed}"
        return " ".join(word for word in self.overrides if not word.startswith(("root=", "tracking", "guard="))) or "default"

    @property
    def targets(self) -> list[Node]:
        """The stages whose artifacts make the point complete: its evaluations, baselines and checks."""
        return [node for node in self.nodes.values() if node.stage in TARGETS]

    def folder(self, root: Path) -> Path:
        return root / "points" / self.key


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's content, or None where there is none that can be read: records are replaced whole, so half a file is damage."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


@functools.cache
def commit() -> str:
    """The commit of the working tree, with `+changes` where tracked code or settings differ from it; "" without git."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "lore_lab", "conf", "train.py")
    return head + ("+changes" if changed else "")


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", "-C", str(_ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def point_metrics(store: Store, point: Point) -> dict[str, float]:
    """Metrics of the point's targets, prefixed with their role: "eval/macro_f1", "sft_eval/macro_f1", "baseline/bm25/macro_f1"."""
    metrics: dict[str, float] = {}
    for node in point.targets:
        artifact = store.find(node.stage, node.key)
        if artifact is not None:
            metrics |= {f"{node.role}/{name}": value for name, value in artifact.metrics.items()}
    return metrics


def _stage(role: str, node: Node, before: Mapping[str, Any]) -> dict[str, Any]:
    """A stage of the record. What an earlier run of the same point computed stays noted as computed by it."""
    known = next((stage for stage in before.get("stages", []) if (stage["role"], stage["key"]) == (role, node.key)), None)
    return known or {"stage": node.stage, "role": role, "key": node.key, "state": "pending", "cached": False, "seconds": 0.0}


class PointRecord:
    """Writes point.json as the point moves from queued to done. The lease tells `status` whether a writer is alive."""

    def __init__(self, root: Path, point: Point) -> None:
        self.folder = point.folder(root)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / "point.json"
        self._lease = Lease(self.folder / _WRITER)
        before = read_json(self._path) or {}
        self._over = before.get("state") == "done"
        self.content: dict[str, Any] = {
            "point": point.key,
            "overrides": list(point.overrides),
            "seed": point.config.seed,
            "commit": before["commit"] if before.get("state") == "done" and "commit" in before else commit(),
            "config": plain(point.config),
            "state": "queued",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": before.get("started"),
            "finished": None,
            "seconds": before.get("seconds", 0.0),
            "error": None,
            "log": None,
            "stages": [_stage(role, node, before) for role, node in point.nodes.items()],
            "metrics": {},
            "mirrored": before.get("mirrored", False),
        }

    def claim(self) -> None:
        """Say that this process works on the point; without effect where another one already does, and on a point that is done: a sweep that
        comes to it again, and is killed before its turn, must not take its results out of the tables."""
        if not self._over:
            self.write(state="queued")

    def write(self, **changes: Any) -> None:
        """Only who holds the lease says that a point is under way; that it ended is said by everyone who saw it end."""
        self.content |= changes
        if self._lease.acquire() or self.content["state"] in ("done", "failed"):
            write_json(self._path, self.content)

    def release(self) -> None:
        self._lease.release()


def alive(folder: Path) -> bool:
    """Whether a process is at work on the point in `folder`."""
    return Lease(folder / _WRITER).live()


def point_state(folder: Path, record: dict[str, Any]) -> str:
    """The recorded state; "interrupted" where the record says at work and no process is."""
    state = str(record["state"])
    return "interrupted" if state in ("queued", "running") and not alive(folder) else state


def sweep_id(points: Sequence[Point], experiment: str = "") -> str:
    """The same points are the same sweep, whatever the order of the command's words; each experiment has its own."""
    return digest(sorted(point.key for point in points) + ([experiment] if experiment else []))


def write_sweep(
    root: Path, points: Sequence[Point], axes: Mapping[str, Sequence[str]], command: str, experiment: str = "", **extra: Any
) -> Path:
    """Write or refresh sweep.json; returns the sweep's folder. experiment: the claim, or `recipe=<name>`, whose arms these are."""
    folder = root / "sweeps" / sweep_id(points, experiment)
    folder.mkdir(parents=True, exist_ok=True)
    before = read_json(folder / "sweep.json") or {"created": now()}
    content = before | {
        "sweep": folder.name,
        "command": command,
        "axes": {name: list(values) for name, values in axes.items()},
        "points": [
            {"point": point.key, "overrides": list(point.overrides)} | ({"arm": point.arm} if point.arm else {}) for point in points
        ],
        "finished": None,
    }
    content |= {"experiment": experiment} if experiment else {}
    write_json(folder / "sweep.json", content | extra)
    return folder

"""Which GPUs a stage gets: its own, by default one. Two stages never share one, be they of one sweep or of two commands on one machine."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

_LISTED = re.compile(r"^(\s*)(?:GPU|MIG).*\(UUID: ([\w/-]+)\)", re.MULTILINE)


def named(listing: str, visible: str | None) -> list[str]:
    """Names of the GPUs a process may use, for CUDA_VISIBLE_DEVICES.

    listing: what `nvidia-smi -L` prints. visible: the process's own CUDA_VISIBLE_DEVICES, None where it is not set. Numbers become unique ids, by
    which a card has the same name in every process; a card that is cut into MIG slices is its slices.
    """
    cards: list[tuple[str, list[str]]] = []
    for indent, name in _LISTED.findall(listing):
        if indent and cards:
            cards[-1][1].append(name)
        else:
            cards.append((name, []))
    wanted = (
        [str(number) for number in range(len(cards))] if visible is None else [part.strip() for part in visible.split(",") if part.strip()]
    )
    found: list[str] = []
    for part in wanted:
        card = cards[int(part)] if part.isdigit() and int(part) < len(cards) else (part, [])
        found += card[1] or [card[0]]
    return found


def visible_gpus() -> list[str]:
    """`named` of this process; one nameless GPU, "0", where the driver lists none."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    except OSError:
        listing = ""
    return named(listing, os.environ.get("CUDA_VISIBLE_DEVICES")) or ["0"]


def gpus_needed(compute: Mapping[str, object]) -> int:
    """GPUs a stage with this `compute` slice takes: one a process, none on a CPU or for a stage without a slice."""
    return max(1, int(str(compute["processes"]))) if compute.get("device") == "cuda" else 0


class Gpus:
    """Hands out each GPU once at a time. Locks lie in a folder of the machine, so the kernel frees those of a process that was killed."""

    def __init__(self, names: Iterable[str], folder: Path | None = None) -> None:
        folder = folder or Path(tempfile.gettempdir()) / f"lore_lab-{os.getuid()}"
        folder.mkdir(parents=True, exist_ok=True)
        self._locks = {name: FileLock(folder / f"{name.replace('/', '-')}.lock", thread_local=False) for name in names}

    def take(self, count: int) -> list[str] | None:
        """`count` GPUs that nobody uses, or None while there are not so many."""
        taken: list[str] = []
        for name, lock in self._locks.items():
            if len(taken) == count:
                break
            if lock.is_locked:
                continue
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            taken.append(name)
        if len(taken) == count:
            return taken
        self.give(taken)
        return None

    def give(self, names: Sequence[str]) -> None:
        """Back."""
        for name in names:
            self._locks[name].release()

"""The right to compute something: a file that names its holder and beats. For hosts that share a folder; asks no lock of the file system.

Needs exclusive create and rename, which NFS, Lustre and their like have, where flock is often local to a host or absent. A holder counts as gone
  - when it is a process of this host that is not there any more, at once;
  - else when its beat has not moved for SILENT seconds of the observer's own clock. No two clocks are compared.
A holder that was only asleep finds its lease `lost` when it wakes. So two may believe for a moment that they hold one lease: it saves double work,
results are kept whole by the store's renames (store.py).
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

BEAT = 10.0  #: seconds between a holder's signs of life
SILENT = 60.0  #: seconds without one after which a holder that cannot be asked counts as gone
_DIGITS = 12


@functools.cache
def here() -> str:
    """This host as leases name it: two boots, or two containers of one pod, are two hosts, because they do not see each other's processes."""
    parts = [socket.gethostname()]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(), lambda: os.readlink("/proc/self/ns/pid")):
        try:
            parts.append(read())
        except OSError:  # no Linux
            parts.append("")
    return "/".join(parts)


def _started(pid: int) -> str | None:
    """Start time of a process in the kernel's ticks, so that a process id used again is told from the first; None where there is none to see."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else fields[18]


def _runs(pid: int, started: str | None) -> bool:
    """Whether the process that wrote a lease of this host is still there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return started is None or started == _started(pid)


class _Pulse:
    """One thread beats for all leases of the process."""

    def __init__(self) -> None:
        self._leases: set[Lease] = set()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        with self._guard:
            self._leases.add(lease)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._guard:
            self._leases.discard(lease)

    def _run(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._guard:
                for lease in list(self._leases):
                    lease.beat()
                self._leases = {lease for lease in self._leases if not lease.lost}
                if not self._leases:
                    self._thread = None
                    return


_pulse = _Pulse()


class Lease:
    """path: the file, in a folder that is there. host: what this process calls its host.

    Keep one object to ask again with: what it saw of a silent holder is its memory. Not for use by several threads.
    """

    def __init__(self, path: Path, host: str | None = None) -> None:
        self.path, self.host = path, host or here()
        self.token: str | None = None  #: names this holding of the lease; None while it is not held
        self.lost = False  #: somebody took it, because this process was silent for too long
        self._descriptor = -1
        self._beats = 0
        self._seen: tuple[tuple[str, str], float] | None = None

    def acquire(self) -> bool:
        """Take the lease if nobody holds it, or whoever held it is gone. Does not wait. True at once where it is held already."""
        if self.held:
            return True
        self.release()
        holder = self.holder()
        return (holder is None or (self._gone(holder) and self._remove(holder))) and self._create()

    @property
    def held(self) -> bool:
        return self.token is not None and not self.lost

    def release(self) -> None:
        """Give it back. Without effect where it is not held."""
        if self.token is None:
            return
        _pulse.remove(self)
        if (self.holder() or {}).get("token") == self.token:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self.token = None

    def live(self) -> bool:
        """Whether a holder is at work, at one glance, for people: of another host by the age of its last beat, as the clocks have it."""
        holder = self.holder()
        if holder is None:
            return False
        if holder["host"] == self.host:
            return _runs(holder["pid"], holder["started"])
        try:
            return time.time() - self.path.stat().st_mtime < SILENT
        except FileNotFoundError:
            return False

    def holder(self) -> dict[str, Any] | None:
        """host, pid, started, token and beat of the holder; None without one. Empty host and token while it is being written."""
        try:
            beat, _, record = self.path.read_text(encoding="utf-8", errors="replace").partition("\n")
        except FileNotFoundError:
            return None
        try:
            content = json.loads(record)
        except ValueError:
            content = {}
        return {"host": "", "pid": 0, "started": None, "token": ""} | content | {"beat": beat}

    def beat(self) -> None:
        """A sign of life; notices that the lease was taken. Called by the process's own thread."""
        try:
            if (self.holder() or {}).get("token") != self.token:
                self.lost = True
                return
            self._beats += 1
            os.pwrite(self._descriptor, f"{self._beats:0{_DIGITS}d}".encode(), 0)
            os.fsync(self._descriptor)  # other hosts see what reached the server
        except OSError:
            return  # a file system out of reach: the next beat tells, or somebody else's lease

    def _gone(self, holder: dict[str, Any]) -> bool:
        if holder["host"] == self.host and not _runs(holder["pid"], holder["started"]):
            return True
        mark = (str(holder["token"]), str(holder["beat"]))
        if self._seen is None or self._seen[0] != mark:
            self._seen = (mark, time.monotonic())
        return time.monotonic() - self._seen[1] >= SILENT

    def _remove(self, holder: dict[str, Any]) -> bool:
        """Take the file of a holder that is gone out of the way. Of several that try, the rename lets one through at a time."""
        aside = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return True
        taken = Lease(aside, self.host).holder() or {}
        try:
            if taken.get("token") != holder["token"]:  # somebody was faster, and what was moved is theirs
                os.link(aside, self.path)
                return False
        except OSError:
            return False  # a third one holds it by now; the second will find its lease lost
        finally:
            aside.unlink(missing_ok=True)
        return True

    def _create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        token, pid = secrets.token_hex(4), os.getpid()
        record = {"host": self.host, "pid": pid, "started": _started(pid), "token": token}
        try:
            os.write(descriptor, f"{0:0{_DIGITS}d}\n{json.dumps(record)}\n".encode())
            os.fsync(descriptor)
        except OSError:
            os.close(descriptor)
            self.path.unlink(missing_ok=True)
            raise
        self.token, self.lost, self._descriptor, self._beats = token, False, descriptor, 0
        _pulse.add(self)
        return True

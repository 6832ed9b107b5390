"""Leases: one holder at a time, also between processes that do not see each other's processes; nobody waits for ever on one that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lore_lab.stages import lease as module
from lore_lab.stages.lease import Lease, here


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute in a second."""
    monkeypatch.setattr(module, "BEAT", 0.05)
    monkeypatch.setattr(module, "SILENT", 0.5)


def other(code: str, path: Path, host: str = "") -> subprocess.Popen[str]:
    """A process with a lease `lease` on `path` that believes to be on `host`, beating fast, which runs `code`, says so and waits for its input."""
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from lore_lab.stages import lease as module
        module.BEAT, module.SILENT = 0.05, 0.5
        lease = module.Lease(Path({str(path)!r}), {host!r} or None)
        {code}
        print(lease.held, flush=True)
        sys.stdin.readline()
    """)
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def within(seconds: float, what: object) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def test_one_holder_at_a_time_and_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.lease"
    first, second = Lease(path), Lease(path)
    assert first.acquire()
    assert first.acquire(), "it holds it already"
    assert not second.acquire()
    holder = second.holder()
    assert holder is not None
    assert (holder["host"], holder["pid"], holder["token"]) == (here(), os.getpid(), first.token)
    assert second.live()
    first.release()
    assert not second.live()
    assert second.acquire()
    first.release()
    assert second.held, "a second release takes nothing from others"
    second.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("fast")
def test_a_killed_process_of_this_host_is_gone_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.lease"
    process = other("lease.acquire()", path)
    assert said(process) == "True\n"
    lease = Lease(path)
    assert not lease.acquire()
    process.kill()
    assert lease.live() is False or within(1, lambda: not lease.live()), "also while nobody has waited for it"
    assert lease.acquire()
    process.wait()
    lease.release()


@pytest.mark.usefixtures("fast")
def test_a_process_id_used_again_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.lease"
    record = {"host": here(), "pid": os.getpid(), "started": "1", "token": "x"}  # this process, but started at another time
    path.write_text(f"{0:012d}\n{json.dumps(record)}\n")
    lease = Lease(path)
    assert lease.acquire()
    lease.release()


@pytest.mark.usefixtures("fast")
def test_between_hosts_a_beating_holder_keeps_it_and_a_silent_one_loses_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lease"
    process = other("lease.acquire()", path, host="far")
    assert said(process) == "True\n"
    lease = Lease(path, host="near")
    assert not within(1.2, lease.acquire), "its process cannot be asked, but it beats"
    assert lease.live()
    process.kill()
    process.wait()
    assert not lease.acquire(), "killed just now: nobody here can know"
    assert within(3, lease.acquire)
    lease.release()


@pytest.mark.usefixtures("fast")
def test_a_holder_that_slept_finds_its_lease_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.lease"
    sleeper, taker = Lease(path, host="far"), Lease(path, host="near")
    monkeypatch.setattr(module, "BEAT", 60.0)  # as good as asleep
    assert sleeper.acquire()
    assert within(2, taker.acquire)
    sleeper.beat()
    assert sleeper.lost
    assert not sleeper.held
    sleeper.release()
    assert taker.held
    taker.beat()
    assert not taker.lost
    taker.release()


@pytest.mark.usefixtures("fast")
def test_a_file_cut_by_a_kill_is_no_holder_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.lease"
    path.write_text("0000")
    lease = Lease(path)
    assert not lease.acquire()
    assert within(2, lease.acquire)
    lease.release()


@pytest.mark.usefixtures("fast")
def test_of_many_that_want_a_dead_hosts_lease_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lease"
    record = {"host": "dead", "pid": 1, "started": None, "token": "x"}
    path.write_text(f"{0:012d}\n{json.dumps(record)}\n")
    code = "while not lease.acquire() and (lease.holder() or {}).get('host') in (None, 'dead', ''): time.sleep(0.001)"
    processes = [other(code, path, host=f"host{number}") for number in range(3)]
    assert sorted(map(said, processes)) == ["False\n", "False\n", "True\n"]
    for process in processes:
        process.kill()
        process.wait()

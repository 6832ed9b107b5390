"""Records of points and sweeps: what a run did, and what became of one that is no longer there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lore_lab.cli import main
from lore_lab.config.schema import Config
from lore_lab.stages.records import Point, PointRecord, alive, point_metrics, point_state, read_json, sweep_id, write_sweep
from lore_lab.stages.store import Store

Compose = Callable[..., Config]


@pytest.fixture
def point(compose: Compose) -> Point:
    return Point.of(compose("seed=3"), ["seed=3"])


def state(root: Path, point: Point) -> str:
    folder = point.folder(root)
    return point_state(folder, read_json(folder / "point.json") or {})


def test_a_point_moves_from_queued_over_running_to_done(tmp_path: Path, point: Point) -> None:
    record = PointRecord(tmp_path, point)
    record.claim()
    assert (state(tmp_path, point), alive(point.folder(tmp_path))) == ("queued", True)
    record.write(state="running", started="2026-01-01T00:00:00+00:00")
    assert state(tmp_path, point) == "running"
    record.write(state="done")
    record.release()
    assert (state(tmp_path, point), alive(point.folder(tmp_path))) == ("done", False)


@pytest.mark.parametrize(
    ("recorded", "shown"), [("queued", "interrupted"), ("running", "interrupted"), ("failed", "failed"), ("done", "done")]
)
def test_a_record_without_its_writer_is_shown_as_interrupted(
    tmp_path: Path, point: Point, capsys: pytest.CaptureFixture[str], recorded: str, shown: str
) -> None:
    record = PointRecord(tmp_path, point)
    record.claim()
    record.write(state=recorded)
    record.release()
    assert state(tmp_path, point) == shown
    assert main(["--root", str(tmp_path), "status"]) == 0
    printed = capsys.readouterr().out
    assert point.key in printed
    assert shown in printed
    assert "seed=3" in printed


def test_a_killed_writer_leaves_no_lock_behind(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from lore_lab.stages.lease import Lease
        assert Lease(Path({str(tmp_path)!r}) / "writer.lease").acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert not alive(tmp_path)


def test_a_second_writer_does_not_disturb_the_first(tmp_path: Path, point: Point) -> None:
    first = PointRecord(tmp_path, point)
    first.claim()
    first.write(state="running")
    second = PointRecord(tmp_path, point)
    second.claim()
    assert state(tmp_path, point) == "running"
    first.write(state="done")
    second.write(state="running")
    assert state(tmp_path, point) == "done"
    first.release()


def test_a_record_says_what_it_would_take_to_repeat_the_point(tmp_path: Path, point: Point) -> None:
    record = PointRecord(tmp_path, point)
    record.claim()
    record.release()
    content = read_json(point.folder(tmp_path) / "point.json") or {}
    assert (content["point"], content["overrides"], content["seed"]) == (point.key, ["seed=3"], 3)
    assert content["config"]["rl"]["clip_high"] == point.config.rl.clip_high
    assert {stage["role"]: stage["key"] for stage in content["stages"]} == {role: node.key for role, node in point.nodes.items()}


def test_running_a_point_again_keeps_what_the_first_run_computed(tmp_path: Path, point: Point) -> None:
    first = PointRecord(tmp_path, point)
    first.claim()
    stages = [dict(stage) | {"state": "done", "seconds": 5.0} for stage in first.content["stages"]]
    first.write(state="failed", seconds=35.0, started="2026-01-01T00:00:00+00:00", stages=stages, error="killed")
    first.release()
    again = PointRecord(tmp_path, point).content
    assert (again["state"], again["error"], again["seconds"]) == ("queued", None, 35.0)
    assert again["started"] == "2026-01-01T00:00:00+00:00"
    assert [stage["seconds"] for stage in again["stages"]] == [5.0] * len(stages)


def test_a_point_that_is_done_stays_done_when_a_second_sweep_is_killed_before_its_turn(tmp_path: Path, point: Point) -> None:
    first = PointRecord(tmp_path, point)
    first.claim()
    first.write(state="done", metrics={"eval/macro_f1": 0.5})
    first.release()
    second = PointRecord(tmp_path, point)
    second.claim()
    second.release()
    assert state(tmp_path, point) == "done"
    assert (read_json(point.folder(tmp_path) / "point.json") or {})["metrics"] == {"eval/macro_f1": 0.5}
    third = PointRecord(tmp_path, point)
    third.claim()
    third.write(state="running")  # an artifact is gone: it is at work again
    assert state(tmp_path, point) == "running"
    third.release()


def test_metrics_carry_the_role_of_their_evaluation(tmp_path: Path, point: Point) -> None:
    store = Store(tmp_path)
    assert [node.role for node in point.targets] == ["leaks", "baseline", "sft_eval", "eval"]
    for node, value in zip(point.targets[2:], (0.5, 0.6), strict=True):
        output = store.work(node.stage, node.key) / "output"
        output.mkdir(parents=True)
        store.commit(node.stage, node.key, output, {"metrics": {"macro_f1": value}})
    assert point_metrics(store, point) == {"sft_eval/macro_f1": 0.5, "eval/macro_f1": 0.6}


def test_the_order_of_a_commands_words_makes_no_other_sweep(compose: Compose) -> None:
    points = [Point.of(compose(f"seed={seed}"), [f"seed={seed}"]) for seed in (0, 1)]
    assert sweep_id(points) == sweep_id(points[::-1])
    assert sweep_id(points) != sweep_id(points[:1])


def test_a_sweep_written_again_keeps_its_beginning(tmp_path: Path, point: Point) -> None:
    folder = write_sweep(tmp_path, [point], {"seed": ["3"]}, "python train.py -m seed=3")
    created = (read_json(folder / "sweep.json") or {})["created"]
    (folder / "sweep.json").write_text((folder / "sweep.json").read_text().replace(created, "2026-01-01T00:00:00+00:00"))
    write_sweep(tmp_path, [point], {"seed": ["3"]}, "python train.py -m seed=3", finished="2026-01-02T00:00:00+00:00")
    content = read_json(folder / "sweep.json") or {}
    assert (content["created"], content["finished"]) == ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")
    assert content["points"] == [{"point": point.key, "overrides": ["seed=3"]}]
    assert content["axes"] == {"seed": ["3"]}


def test_status_counts_the_points_of_a_sweep(tmp_path: Path, compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    points = [Point.of(compose(f"seed={seed}"), [f"seed={seed}"]) for seed in (0, 1, 2)]
    write_sweep(tmp_path, points, {"seed": ["0", "1", "2"]}, "python train.py -m seed=0,1,2")
    for point, recorded in zip(points, ("done", "failed"), strict=False):
        record = PointRecord(tmp_path, point)
        record.claim()
        record.write(state=recorded, error="OSError: no space" if recorded == "failed" else None)
        record.release()
    main(["--root", str(tmp_path), "status"])
    lines = capsys.readouterr().out.splitlines()
    (sweep,) = [line for line in lines if "seed=0,1,2" in line]
    counts = [cell.strip() for cell in sweep.replace("┃", "│").split("│")[2:7]]
    assert counts == ["1", "0", "1", "1", "0"]  # done, running, queued, failed, interrupted
    assert any("OSError: no space" in line for line in lines)

"""What becomes of points that a launcher runs as its own jobs: counted by what is there, whatever the launcher says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus

from lore_lab import command
from lore_lab.command import launch, run_job
from lore_lab.config.schema import Config
from lore_lab.stages.records import Point, PointRecord
from lore_lab.stages.store import Store
from tests.conftest import composed

Compose = Callable[..., Config]


@pytest.fixture
def points(compose: Compose, tmp_path: Path) -> list[Point]:
    return [Point.of(compose(f"seed={seed}", f"root={tmp_path}"), [f"seed={seed}"]) for seed in range(3)]


def finish(point: Point) -> None:
    store = Store(point.config.root)
    for node in point.targets:
        if not store.exists(node.stage, node.key):
            output = store.work(node.stage, node.key) / "output"
            output.mkdir(parents=True)
            store.commit(node.stage, node.key, output, {"metrics": {}, "seconds": 0.0})
    record = PointRecord(store.root, point)
    record.write(state="done")
    record.release()


class Jobs:
    """A launcher: runs `does` for each job and returns what it says, or raises it."""

    def __init__(self, does: Sequence[Callable[[], Any]]) -> None:
        self.does, self.launched = does, [["never called"]]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.launched = [list(words) for words in job_overrides]
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=job()) for job in self.does]


def words(points: Sequence[Point]) -> list[list[str]]:
    return [list(point.overrides) for point in points]


def test_points_are_counted_by_what_is_there(points: list[Point], capsys: pytest.CaptureFixture[str]) -> None:
    def die() -> None:
        record = PointRecord(Path(points[1].config.root), points[1])
        record.write(state="running")
        record.release()  # as the kernel would

    launcher = Jobs([lambda: finish(points[0]), die, lambda: RuntimeError("another point")])
    states = launch(points, words(points), launcher, "s1")
    assert [states[point.key] for point in points] == ["done", "interrupted", "missing"]
    said = capsys.readouterr().err
    assert "seed=1 is interrupted: its job ended without a result" in said
    assert "seed=2 is missing: another point" in said


def test_a_launcher_that_breaks_is_reported_and_what_is_done_is_done(points: list[Point], capsys: pytest.CaptureFixture[str]) -> None:
    def break_down() -> None:
        raise OSError("no cluster")

    states = launch(points, words(points), Jobs([lambda: finish(points[0]), break_down]), "s1")
    assert [states[point.key] for point in points] == ["done", "missing", "missing"]
    assert "the launcher ended with OSError: no cluster" in capsys.readouterr().err


def test_what_is_done_is_no_job_unless_its_artifacts_are_gone(points: list[Point]) -> None:
    for point in points:
        finish(point)
    launcher = Jobs([])
    assert set(launch(points, words(points), launcher, "s1").values()) == {"done"}
    assert launcher.launched == [["never called"]]
    evaluation = next(node for node in points[1].targets if node.role == "eval")
    Store(points[1].config.root).path("eval", evaluation.key).rename(Path(points[1].config.root) / "gone")
    states = launch(points, words(points), launcher, "s1")
    assert [job[0] for job in launcher.launched] == ["seed=1"]
    assert states[points[1].key] == "missing"


def test_a_job_is_told_its_point_and_refuses_to_make_another(points: list[Point], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launcher = Jobs([])
    launch(points[:1], words(points[:1]), launcher, "s1")
    told = dict(word.removeprefix("++hydra.job.env_set.").split("=") for word in launcher.launched[0][1:])
    assert told == {"LORE_LAB_SWEEP": "'s1'", "LORE_LAB_POINT": f"'{points[0].key}'", "LORE_LAB_DEVICE": "'cpu'"}
    monkeypatch.setattr(command, "run_points", lambda *_, **__: pytest.fail("it ran"))
    monkeypatch.setenv("LORE_LAB_POINT", points[0].key)
    with pytest.raises(RuntimeError, match="the same words make"):
        run_job(composed(("seed=1", f"root={tmp_path}")), ["seed=1"])

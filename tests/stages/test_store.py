"""The artifact store: atomic, verified, locked."""

import json
import multiprocessing
import warnings
from pathlib import Path

import pytest
from filelock import Timeout

from lore_lab.stages.store import DamagedArtifactWarning, Store, write_json


def commit(store: Store, key: str = "k1", text: str = "content") -> Path:
    output = store.work("data", key) / "output"
    (output / "sub").mkdir(parents=True)
    (output / "sub" / "a.txt").write_text(text)
    return store.commit("data", key, output, {"metrics": {"pairs": 3}, "seconds": 1.0}).path


def test_a_committed_artifact_is_found_whole_and_described(tmp_path: Path) -> None:
    path = commit(Store(tmp_path))
    artifact = Store(tmp_path).find("data", "k1")
    assert artifact is not None
    assert artifact.path == path
    assert artifact.metrics == {"pairs": 3}
    assert artifact.manifest["files"]["sub/a.txt"]["size"] == len("content")


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete", "manifest"])
def test_a_damaged_artifact_is_set_aside_with_a_warning(tmp_path: Path, harm: str) -> None:
    path = commit(Store(tmp_path))
    file = path / "sub" / "a.txt"
    {
        "flip": lambda: file.write_text("Content"),
        "truncate": lambda: file.write_text("cont"),
        "delete": lambda: file.unlink(),
        "manifest": lambda: (path / "manifest.json").write_text('{"files": '),
    }[harm]()
    store = Store(tmp_path)
    with pytest.warns(DamagedArtifactWarning, match="set aside"):
        assert store.find("data", "k1") is None
    assert not path.exists()
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    commit(store)
    assert store.find("data", "k1") is not None


def test_an_unfinished_artifact_is_invisible(tmp_path: Path) -> None:
    store = Store(tmp_path)
    output = store.work("data", "k1") / "output"
    output.mkdir(parents=True)
    (output / "a.txt").write_text("half")
    assert store.find("data", "k1") is None
    assert list(store.all()) == []


def test_two_writers_of_one_key_are_an_error_not_a_mixture(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    with pytest.raises(FileExistsError):
        commit(store, text="other")
    assert (store.path("data", "k1") / "sub" / "a.txt").read_text() == "content"


def _hold(root: str, ready, done) -> None:  # type: ignore[no-untyped-def]
    with Store(root).lock("data", "k1"):
        ready.set()
        done.wait()


def test_the_lock_holds_across_processes_and_is_freed_by_a_kill(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready, done))
    process.start()
    assert ready.wait(30)
    lock = Store(tmp_path).lock("data", "k1")
    with pytest.raises(Timeout):
        lock.acquire(timeout=0)
    process.kill()
    process.join()
    with lock.acquire(timeout=10):
        assert lock.is_locked


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"n": 1})
    circular: dict[str, object] = {}
    circular["self"] = circular
    with pytest.raises(ValueError, match="Circular"):
        write_json(tmp_path / "a.json", circular)
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 1}


def test_discard_removes_what_find_would_return(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    assert store.find("data", "k1") is not None
    store.discard("data", "k1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.find("data", "k1") is None

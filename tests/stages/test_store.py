"""The artifact store: atomic, verified, locked."""

import json
import warnings
from pathlib import Path

import pytest

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


def test_of_two_that_compute_a_key_at_once_the_first_ones_artifact_stays_whole_for_both(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = commit(store)
    assert commit(store, text="other") == first
    assert (first / "sub" / "a.txt").read_text() == "content"
    assert Store(tmp_path).find("data", "k1") is not None
    assert not list((tmp_path / "work").rglob("a.txt"))


def test_who_takes_the_lease_takes_the_work_and_fences_off_who_had_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.take_work("rl", "k1", "aaaa")
    (first / "checkpoint").write_text("step 4")
    second = store.take_work("rl", "k1", "bbbb")
    assert (second / "checkpoint").read_text() == "step 4"
    assert store.work("rl", "k1") == second
    with pytest.raises(FileNotFoundError):  # an earlier holder that was only asleep
        (first / "checkpoint").write_text("step 5")
    with pytest.raises(FileNotFoundError):
        store.commit("rl", "k1", first / "output", {"metrics": {}})
    assert store.find("rl", "k1") is None


def test_work_of_a_version_without_tokens_is_gone_on_with(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = tmp_path / "work" / "rl-k1"
    old.mkdir(parents=True)
    (old / "checkpoint").write_text("step 4")
    assert (store.take_work("rl", "k1", "cccc") / "checkpoint").read_text() == "step 4"
    assert not old.exists()


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


def test_what_is_written_keeps_its_order(tmp_path: Path) -> None:
    """The rule book is ordered: prompts show its sentences as they stand in source.json."""
    content = {"used": 1, "accessory": 2}
    write_json(tmp_path / "a.json", content)
    assert list(json.loads((tmp_path / "a.json").read_text())) == list(content)

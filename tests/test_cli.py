"""`lore-lab cache`: what is there, whether it is whole, and what nobody needs any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from lore_lab.cli import main
from lore_lab.stages.store import Store, write_json


def commit(root: Path, stage: str, key: str, text: str = "content") -> Path:
    store = Store(root)
    output = store.work(stage, key) / "output"
    output.mkdir(parents=True)
    (output / "a.txt").write_text(text)
    manifest = {"metrics": {}, "seconds": 12.0, "created": "2026-01-01T00:00:00+00:00"}
    return store.commit(stage, key, output, manifest).path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three artifacts, two of them used by a recorded point."""
    for stage, key in (("data", "aaaa"), ("sft", "bbbb"), ("sft", "cccc")):
        commit(tmp_path, stage, key)
    folder = tmp_path / "points" / "p1"
    folder.mkdir(parents=True)
    write_json(folder / "point.json", {"stages": [{"stage": "data", "key": "aaaa"}, {"stage": "sft", "key": "cccc"}]})
    return tmp_path


def keys(root: Path) -> list[str]:
    return [key for _, key, _ in Store(root).all()]


def run(root: Path, *words: str) -> int:
    return main(["--root", str(root), *words])


def test_ls_shows_stage_key_size_and_seconds(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(root, "base", "dddd", "x" * 2_500_000)
    assert run(root, "cache", "ls") == 0
    rows = {cells[1]: cells for line in capsys.readouterr().out.splitlines() if len(cells := line.replace("│", " ").split()) == 5}
    assert rows["dddd"] == ["base", "dddd", "2.5", "12", "2026-01-01T00:00:00+00:00"]
    assert {"aaaa", "bbbb", "cccc"} <= set(rows)


def test_verify_is_quiet_about_whole_artifacts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "cache", "verify") == 0
    assert capsys.readouterr().out == "3 of 3 artifacts are whole\n"


def test_verify_sets_a_damaged_artifact_aside_and_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Store(root).path("sft", "bbbb") / "a.txt").write_text("Content")
    assert run(root, "cache", "verify") == 1
    printed = capsys.readouterr().out
    assert "a.txt does not match its checksum" in printed
    assert "2 of 3 artifacts are whole" in printed
    assert keys(root) == ["aaaa", "cccc"]
    assert (root / "damaged" / "sft-bbbb.0" / "a.txt").read_text() == "Content"
    assert run(root, "cache", "verify") == 0


def test_gc_removes_what_no_point_uses_and_what_was_damaged(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Store(root).path("data", "aaaa") / "a.txt").write_text("Content")
    run(root, "cache", "verify")
    assert run(root, "cache", "gc") == 0
    assert keys(root) == ["cccc"]
    assert not (root / "damaged").exists()
    assert "removed sft bbbb" in capsys.readouterr().out


def test_gc_can_say_first_what_would_go(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "cache", "gc", "--dry-run") == 0
    assert keys(root) == ["aaaa", "bbbb", "cccc"]
    printed = capsys.readouterr().out
    assert "would remove sft bbbb" in printed
    assert "aaaa" not in printed


@pytest.mark.parametrize("command", [["status"], ["cache", "ls"], ["cache", "verify"], ["cache", "gc"]])
def test_an_empty_root_is_no_error(tmp_path: Path, command: list[str]) -> None:
    assert run(tmp_path / "nothing", *command) == 0


@pytest.mark.parametrize("words", [[], ["cache"], ["caches"]])
def test_an_incomplete_command_ends_with_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: lore-lab" in capsys.readouterr().err

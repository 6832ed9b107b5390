"""Stage `leaks` on the world: clean as it is, loud as soon as one test query was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lore_lab.config.schema import Config
from lore_lab.data.example import Example
from lore_lab.data.frame import write_examples
from lore_lab.data.leaks import LeakError
from lore_lab.data.registry import load_source
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.data import EXAMPLES, SOURCE
from lore_lab.stages.functions.leaks import run
from lore_lab.stages.graph import plain
from lore_lab.stages.store import Artifact, write_json

Rows = Sequence[tuple[str, Example]]


def check(folder: Path, train: Rows, test: Rows) -> dict[str, Any]:
    inputs = {}
    for name, rows in (("data", train), ("bench", test)):
        (folder / name).mkdir()
        write_examples(folder / name / EXAMPLES, rows)
        write_json(folder / name / SOURCE, {"name": "world"})
        inputs[name] = Artifact(name, name, folder / name, {})
    return run(StageContext({}, inputs, folder, folder, None, lambda *_: None))  # type: ignore[arg-type]


@pytest.fixture
def splits(compose: Callable[..., Config]) -> tuple[Rows, Rows]:
    """(training pairs, test pairs of every test split)."""
    source = load_source(plain(compose())["data"])
    train = [("train", example) for example in source.examples("train", 0, 2000)]
    tests = ("general", "hard", "visual", "rule", "wild", "unseen")
    return train, [(split, example) for split in tests for example in source.examples(split, 0, 100)]


def test_the_world_does_not_leak(tmp_path: Path, splits: tuple[Rows, Rows]) -> None:
    counts = check(tmp_path, *splits)
    assert set(counts) == {f"queries/{split}" for split in ("train", "general", "hard", "visual", "rule", "wild", "unseen")}
    assert counts["queries/train"] > 500


def test_one_shared_query_is_named_however_it_is_spelt(tmp_path: Path, splits: tuple[Rows, Rows]) -> None:
    train, test = splits
    query = test[-1][1].query
    leaked = dataclasses.replace(train[7][1], query=f" {query.upper()} ")
    with pytest.raises(LeakError) as caught:
        check(tmp_path, [*train, ("train", leaked)], test)
    assert "world: 1 queries of unseen were trained on" in str(caught.value)
    assert repr(query) in str(caught.value)
    assert repr(leaked.query) in str(caught.value)

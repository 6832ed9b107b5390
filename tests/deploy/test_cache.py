"""The store of offline answers: what it was filled with or nothing, whatever happens to the file."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_lab.data.example import Example
from lore_lab.deploy.cache import AnswerCache, answers_version, fill, pair_key

KEYS = [bytes([number]) * 16 for number in range(40)]
ANSWERS = {key: np.random.default_rng(number).dirichlet(np.ones(4)) for number, key in enumerate(KEYS)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "cache.sqlite"
    assert fill(file, "v1", ANSWERS.items()) == len(KEYS)
    return file


def looked_up(path: Path, version: str = "v1") -> tuple[list[np.ndarray | None], dict[str, int]]:
    cache = AnswerCache(path, version, 4)
    found = cache.lookup(KEYS)
    cache.close()
    return found, {name: count for name, count in cache.counts.items() if count}


def never_wrong(found: list[np.ndarray | None]) -> None:
    for key, answer in zip(KEYS, found, strict=True):
        assert answer is None or np.array_equal(answer, ANSWERS[key])


def test_a_whole_cache_gives_every_answer_as_it_was_filled(path: Path) -> None:
    found, counts = looked_up(path)
    assert counts == {"hit": len(KEYS)}
    for key, answer in zip(KEYS, found, strict=True):
        assert np.array_equal(answer, ANSWERS[key])


def test_a_filled_cache_is_one_file_in_wal_mode(path: Path) -> None:
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize("content", [None, b""])
def test_an_absent_or_empty_file_is_an_empty_cache(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "none.sqlite"
    if content is not None:
        file.write_bytes(content)
    found, counts = looked_up(file)
    assert found == [None] * len(KEYS)
    assert counts == {"absent": len(KEYS)}


def test_answers_of_another_version_are_stale_and_not_served(path: Path) -> None:
    found, counts = looked_up(path, "v2")
    assert found == [None] * len(KEYS)
    assert counts == {"stale": len(KEYS)}


def test_a_cache_filled_anew_is_half_new_half_stale(path: Path) -> None:
    fill(path, "v2", [(key, ANSWERS[key]) for key in KEYS[:10]])
    assert looked_up(path, "v2")[1] == {"hit": 10, "stale": 30}
    assert looked_up(path, "v1")[1] == {"hit": 30, "stale": 10}


def test_an_answer_moved_to_another_pair_or_version_does_not_match_its_checksum(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE answers SET probabilities = (SELECT probabilities FROM answers WHERE key = ?)", (KEYS[0],))
        connection.execute("UPDATE answers SET version = 'v2' WHERE key = ?", (KEYS[0],))
    connection.close()
    for version in ("v1", "v2"):
        found, counts = looked_up(path, version)
        assert found == [None] * len(KEYS)
        assert counts == {"damaged": len(KEYS)}


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_counted_as_damaged(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cache.sqlite"
    file.write_bytes(content)
    found, counts = looked_up(file)
    assert found == [None] * len(KEYS)
    assert counts == {"damaged": len(KEYS)}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("filled") / "cache.sqlite"
    fill(file, "v1", ANSWERS.items())
    return file


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_overwritten_anywhere_never_change_an_answer(filled: Path, data: st.DataObject) -> None:
    file, content = filled.parent / "damaged.sqlite", bytearray(filled.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=300))
    content[start : start + len(noise)] = noise[: len(content) - start]
    file.write_bytes(content[: data.draw(st.integers(start, len(content)))])  # also cut short
    never_wrong(looked_up(file)[0])


def test_a_damaged_file_replaced_by_a_whole_one_serves_again(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"x" * 9000)
    cache = AnswerCache(broken, "v1", 4)
    assert cache.lookup(KEYS[:1]) == [None]
    path.replace(broken)
    assert np.array_equal(cache.lookup(KEYS[:1])[0], ANSWERS[KEYS[0]])
    cache.close()


def test_readers_go_on_while_a_filler_writes(path: Path) -> None:
    cache = AnswerCache(path, "v1", 4)
    filler = threading.Thread(target=lambda: [fill(path, "v2", [(bytes([90 + n]) * 16, ANSWERS[KEYS[0]])]) for n in range(20)])
    filler.start()
    for _ in range(50):
        found = cache.lookup(KEYS)
        assert all(answer is not None for answer in found)
        never_wrong(found)
    filler.join()
    cache.close()


PAIR = Example("a", "q", "i", "red dress", {"title": "dress", "caption": "red"}, 0, 0, 0.0, query_fields={"knowledge": "note"})


def test_a_key_covers_what_the_judge_sees_and_nothing_else() -> None:
    own = pair_key(PAIR, ["title"], ["knowledge"])
    same = [replace(PAIR, id="b", item_id="j", label=3, gold=3), replace(PAIR, item={"title": "dress", "caption": "blue"})]
    other = [
        replace(PAIR, query="red dres"),
        replace(PAIR, item={"title": "dresses"}),
        replace(PAIR, query_fields={}),
        replace(PAIR, query="red", item={"title": "dress dress"}),
    ]
    assert {pair_key(pair, ["title"], ["knowledge"]) for pair in same} == {own}
    assert len({pair_key(pair, ["title"], ["knowledge"]) for pair in other} | {own}) == 1 + len(other)
    assert pair_key(PAIR, ["title", "caption"], ["knowledge"]) != own


@pytest.mark.parametrize("name", ["data", "prompt", "features", "format"])
def test_policy_prompt_features_format_and_source_each_make_another_version(name: str) -> None:
    config = {
        "data": {"seed": 0},
        "prompt": {"max_tokens": 64},
        "features": {"fields": ["title"]},
        "format": {"name": "label_only"},
        "seed": 0,
    }
    own = answers_version(config, "policy")
    assert answers_version(config | {"seed": 1}, "policy") == own
    assert answers_version(config | {name: {"other": 1}}, "policy") != own
    assert answers_version(config, "other") != own
    assert answers_version(config, "policy", ["evolved line"]) != own

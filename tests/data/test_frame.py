"""Examples come back from Parquet as they went in."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_lab.data import frame
from lore_lab.data.example import CAPABILITIES, FREQUENCIES, Example, Facts, Match, Need
from lore_lab.data.frame import read_examples, write_examples

text = st.text(st.characters(codec="utf-8"), max_size=8)
fields = st.dictionaries(text, text, max_size=3)
needs = st.builds(Need, text, text, text, text, st.booleans())
matches = st.builds(Match, text, st.sampled_from(["match", "miss", "unknown"]), text, text)
facts = st.builds(
    Facts,
    needs=st.lists(needs, max_size=2).map(tuple),
    matches=st.lists(matches, max_size=2).map(tuple),
    rules=st.lists(text, max_size=2).map(tuple),
    hops=st.integers(0, 9),
)
examples = st.builds(
    Example,
    id=text,
    query_id=text,
    item_id=text,
    query=text,
    item=fields,
    label=st.integers(0, 8),
    gold=st.integers(0, 8),
    difficulty=st.floats(0, 1),
    capability=st.sampled_from(CAPABILITIES),
    frequency=st.sampled_from(FREQUENCIES),
    query_fields=fields,
    facts=st.none() | facts,
)
PLAIN = Example("train-0", "q", "i", "red shoe", {"title": "shoe", "brand": "acme"}, 1, 2, 0.5)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from(["train", "hard"]), examples), max_size=5))
def test_examples_with_facts_come_back_equal_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, Example]]
) -> None:
    path = tmp_path_factory.mktemp("frame") / "examples.parquet"
    assert write_examples(path, iter(rows)) == len(rows)
    assert read_examples(path) == rows


def test_an_unknown_difficulty_stays_unknown(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    write_examples(path, [("train", dataclasses.replace(PLAIN, difficulty=math.nan))])
    ((_, found),) = read_examples(path)
    assert math.isnan(found.difficulty)


def test_visible_fields_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    write_examples(path, [("train", dataclasses.replace(PLAIN, item={"b": "1", "a": "2"}))])
    assert list(read_examples(path)[0][1].item) == ["b", "a"]


def test_more_rows_than_a_batch_all_arrive(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    rows = [("train", dataclasses.replace(PLAIN, id=f"train-{number}")) for number in range(10)]
    with patch.object(frame, "_BATCH", 4):
        assert write_examples(path, iter(rows)) == 10
    assert read_examples(path) == rows


def test_any_tool_can_read_the_table(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    write_examples(path, [("train", PLAIN)])
    (row,) = pq.read_table(path).to_pylist()
    assert (row["query"], row["split"], row["label"], row["item"]) == ("red shoe", "train", 1, '{"title": "shoe", "brand": "acme"}')
    assert row["facts"] is None

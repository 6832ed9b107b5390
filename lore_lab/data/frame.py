"""Examples as a Parquet table and back. Facts and visible fields are JSON text: no pickle, readable by any tool."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lore_lab.data.example import Example, Facts, Match, Need

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("query_id", pa.string()),
        ("item_id", pa.string()),
        ("query", pa.string()),
        ("item", pa.string()),
        ("label", pa.int16()),
        ("gold", pa.int16()),
        ("difficulty", pa.float64()),
        ("capability", pa.string()),
        ("frequency", pa.string()),
        ("query_fields", pa.string()),
        ("facts", pa.string()),
        ("split", pa.string()),
    ]
)
_BATCH = 4096


def write_examples(path: Path, rows: Iterable[tuple[str, Example]]) -> int:
    """Write (split, example) rows batch by batch; returns how many."""
    iterator, count = iter(rows), 0
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        while batch := list(islice(iterator, _BATCH)):
            writer.write_table(pa.Table.from_pylist([_to_row(split, example) for split, example in batch], _SCHEMA))
            count += len(batch)
    return count


def read_examples(path: Path) -> list[tuple[str, Example]]:
    """(split, example) rows in the order written."""
    return [(row["split"], _from_row(row)) for row in pq.read_table(path).to_pylist()]


def _to_row(split: str, example: Example) -> dict[str, object]:
    row = {name: getattr(example, name) for name in Example.__slots__} | {"split": split}
    row["item"] = json.dumps(dict(example.item), ensure_ascii=False)
    row["query_fields"] = json.dumps(dict(example.query_fields), ensure_ascii=False)
    row["facts"] = json.dumps(asdict(example.facts), ensure_ascii=False) if example.facts else None
    return row


def _from_row(row: dict[str, object]) -> Example:
    row = {name: row[name] for name in Example.__slots__}
    row["item"] = json.loads(str(row["item"]))
    row["query_fields"] = json.loads(str(row["query_fields"]))
    row["facts"] = _facts(json.loads(str(row["facts"]))) if row["facts"] else None
    return Example(**row)  # type: ignore[arg-type]


def _facts(content: dict[str, object]) -> Facts:
    return Facts(
        needs=tuple(Need(**need) for need in content["needs"]),  # type: ignore[attr-defined]
        matches=tuple(Match(**match) for match in content["matches"]),  # type: ignore[attr-defined]
        rules=tuple(content["rules"]),  # type: ignore[arg-type]
        hops=content["hops"],  # type: ignore[arg-type]
    )

"""Rated pairs from the user's own tables or the published sets, as a Source."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lore_lab.data.example import Example, Guide, Split
from lore_lab.data.table.ingest import Ingest
from lore_lab.data.table.labels import Labels
from lore_lab.data.table.problems import TableError, nearest
from lore_lab.data.table.store import SPLITS, Store
from lore_lab.data.worked import worked_examples

if TYPE_CHECKING:
    from lore_lab.config.table import TableConfig


class TableSource:
    """A Source over CSV, TSV, JSON lines, Parquet or Hugging Face tables.

    Files and columns are checked at construction; rows are read, joined and checked at the first use, into a temporary index.
    Raises TableError where the tables are not what the config says.
    """

    def __init__(self, config: TableConfig) -> None:
        check_config(config)
        self.config, self.name = config, config.name
        self._labels = Labels(config.labels)
        self.grades, self.relevant_from = self._labels.grades, self._labels.relevant_from
        self._ingest = Ingest(config, self._labels)

    @cached_property
    def _store(self) -> Store:
        store = Store(self.config.scratch)
        self._ingest.run(store)
        return store

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """split -> (number of its first pair, pairs served)."""
        sql = "SELECT split, min(number), count(*) FROM pairs GROUP BY split"
        return {SPLITS[split]: (first, count) for split, first, count in self._store.rows(sql)}

    def size(self, split: Split) -> int:
        """Pairs of `split`; train has at most data.size."""
        count = self._spans.get(split, (0, 0))[1]
        return count if self.config.size is None or split != "train" else min(count, self.config.size)

    @cached_property
    def guide(self) -> Guide:
        """`data.guide`, and worked examples from the beginning of the training pairs."""
        first, count = self._spans.get("train", (0, 0))
        return configured_guide(self.config, self._rows("train", first, first + count))

    def examples(self, split: Split, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        """Train comes in an order drawn by data.seed; the other splits query by query, so that a prefix holds whole queries."""
        first, size = self._spans.get(split, (0, 0))[0], self.size(split)
        return self._rows(split, first + start, first + (size if stop is None else min(stop, size)))

    def _rows(self, split: str, start: int, stop: int) -> Iterator[Example]:
        first = self._spans.get(split, (0, 0))[0]
        sql = """SELECT p.number, p.query_id, p.item_id, p.query, p.label, p.gold, p.difficulty, p.fields, items.fields
            FROM pairs AS p LEFT JOIN items ON items.id = p.item_id WHERE p.number >= ? AND p.number < ? ORDER BY p.number"""
        for number, query_id, item_id, query, label, gold, difficulty, own, joined in self._store.rows(sql, (start, stop)):
            item = json.loads(own) | (json.loads(joined) if joined else {})
            difficulty = math.nan if difficulty is None else difficulty
            yield Example(f"{split}-{number - first}", query_id, item_id, query, item, label, gold, difficulty)

    def items(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(id, visible fields) of the product table, or else of the rated items; the collection to search for retrieval."""
        if "products" in self._ingest.tables:
            sql = "SELECT id, fields FROM items ORDER BY number"
        else:
            sql = "SELECT item_id, fields FROM pairs GROUP BY item_id ORDER BY min(number)"
        for item_id, fields in self._store.rows(sql):
            yield item_id, json.loads(fields)

    def texts(self, count: int) -> Iterator[str]:
        """`count` product texts, starting over when the products are exhausted."""
        yield from repeat_texts(self.items, count)

    def report(self) -> dict[str, Any]:
        """Rows, filters and problems of every table; pairs, queries and labels of every split."""
        store, splits = self._store, {}
        for index, split in enumerate(SPLITS):
            labels = Counter(dict(store.rows("SELECT gold, count(*) FROM pairs WHERE split = ? GROUP BY gold", (index,))))
            queries = next(store.rows("SELECT count(DISTINCT query_id) FROM pairs WHERE split = ?", (index,)))[0]
            splits[split] = {
                "pairs": labels.total(),
                "served": self.size(split),  # type: ignore[arg-type]
                "queries": queries,
                "labels": {grade: labels[i] for i, grade in enumerate(self.grades)},
            }
        tables = {role: table.report() for role, table in self._ingest.tables.items()}
        return {"source": self.name, "tables": tables, "splits": splits}


def repeat_texts(items: Any, count: int) -> Iterator[str]:
    """The fields of each item in one text, over and over until there were `count`."""
    left = count
    while left > 0:
        before = left
        for _, fields in items():
            if left <= 0:
                return
            if fields:
                yield ". ".join(fields.values())
                left -= 1
        if left == before:
            return  # no item has a text


def configured_guide(config: TableConfig, train: Iterator[Example]) -> Guide:
    """The guide that `data.guide` writes down. train: training pairs in index order."""
    grades, own = config.labels.grades, config.guide
    definitions = tuple(own.definitions[grade] for grade in grades) if own.definitions else ()
    return Guide(definitions, dict(own.rules), tuple(own.core), worked_examples(train, len(grades)))


def check_config(config: TableConfig) -> None:
    """Settings that contradict each other, before any file is opened. Raises TableError."""
    split, pairs, raters = config.split, config.pairs, config.raters
    _check_guide(config)
    if split.validation + split.wild >= 1:
        raise TableError(f"data.split.validation={split.validation} and data.split.wild={split.wild} leave nothing to train on")
    for value, name in split.values.items():
        if name not in SPLITS:
            raise TableError(f"data.split.values.{value}={name!r} is no split{nearest(name, SPLITS)}")
    if pairs.split and not split.values:
        raise TableError("data.pairs.split is set: say in data.split.values what its values mean, e.g. {train: train, test: wild}")
    if raters.policy == "published" and not pairs.label:
        raise TableError("data.raters.policy=published needs data.pairs.label; without it use majority, median or first")
    if raters.policy != "published" and not raters.columns:
        raise TableError(f"data.raters.policy={raters.policy} needs data.raters.columns")
    if raters.columns and not pairs.label and config.problems.unrated == "keep":
        raise TableError("data.problems.unrated=keep needs data.pairs.label to fall back to")
    for file, column, key in (
        (config.products.file, pairs.item_id, "data.products.file needs data.pairs.item_id"),
        (config.queries.file, pairs.query_id, "data.queries.file needs data.pairs.query_id"),
        (raters.file, pairs.item_id, "data.raters.file needs data.pairs.item_id"),
    ):
        if file and not column:
            raise TableError(f"{key}, the column to join by")


def _check_guide(config: TableConfig) -> None:
    grades, guide = config.labels.grades, config.guide
    for grade in guide.definitions:
        if grade not in grades:
            raise TableError(f"data.guide.definitions.{grade}: {grade!r} is no grade of data.labels.grades{nearest(grade, grades)}")
    if guide.definitions and (missing := [grade for grade in grades if grade not in guide.definitions]):
        raise TableError(f"data.guide.definitions has no {', '.join(missing)}: define every grade of data.labels.grades, or none")
    for rule in guide.core:
        if rule not in guide.rules:
            raise TableError(f"data.guide.core: {rule!r} is no rule of data.guide.rules{nearest(rule, guide.rules)}")

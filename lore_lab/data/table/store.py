"""The on-disk index of a table source: one temporary SQLite file, so that memory does not grow with the tables.

Rows arrive in file order in `raw`; `arrange` writes them to `pairs` in the order they are served, so that a range of examples
is a range of row numbers.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

#: the splits a table has, in the order of their numbers; a query in several belongs to the last
SPLITS = ("train", "validation", "wild")

_SCHEMA = """
CREATE TABLE items (number INTEGER PRIMARY KEY, id TEXT UNIQUE, fields TEXT);
CREATE TABLE queries (id TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID;
CREATE TABLE votes (query TEXT, item_id TEXT, grades TEXT, PRIMARY KEY (query, item_id)) WITHOUT ROWID;
CREATE TABLE raw (
    seq INTEGER PRIMARY KEY, file INTEGER, row INTEGER, split INTEGER, query_key INTEGER, turn INTEGER, pair INTEGER,
    query_id TEXT, query TEXT, item_id TEXT, label INTEGER, gold INTEGER, difficulty REAL, fields TEXT
);
CREATE TABLE pairs (
    number INTEGER PRIMARY KEY, split INTEGER, query_id TEXT, query TEXT, item_id TEXT,
    label INTEGER, gold INTEGER, difficulty REAL, fields TEXT
);
"""

_TWINS = """
CREATE TABLE twins AS
SELECT pair, query, item_id, min(seq) AS first, count(*) AS rows, count(DISTINCT label * 8 + gold) AS labels
FROM raw WHERE pair IN (SELECT pair FROM raw GROUP BY pair HAVING count(*) > 1)
GROUP BY pair, query, item_id HAVING count(*) > 1
"""


class RawPair(NamedTuple):
    """One row of `raw`, without its running number."""

    file: int
    row: int
    split: int
    query_key: int  #: hash of the normalised query
    turn: int  #: sorts a split: by pair in train, by query in the others
    pair: int  #: hash of query and item
    query_id: str
    query: str
    item_id: str
    label: int
    gold: int
    difficulty: float | None
    fields: str  #: JSON


class Twin(NamedTuple):
    """A row whose pair stands in the table before."""

    file: int
    row: int
    query: str
    item_id: str
    first_file: int
    first_row: int


class Store:
    """A temporary SQLite file, removed with the object. Memory: 64 MB of cache; disk: about three times the tables' text."""

    def __init__(self, scratch: str | None) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="lore_lab_table_", dir=scratch)
        self._path = Path(self._directory.name) / "index.sqlite"
        self.db = sqlite3.connect(self._path, isolation_level=None)
        # nothing here outlives the process, so durability buys nothing
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", "cache_size=-65536", "page_size=8192"):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.executescript(_SCHEMA)
        self.db.execute("BEGIN")

    def add(self, table: str, columns: Sequence[str], values: Sequence[Any]) -> bool:
        """Insert one row; False when its key is taken."""
        marks = ", ".join("?" * len(columns))
        return self.db.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", values).rowcount > 0

    def add_pairs(self, pairs: Iterable[RawPair]) -> None:
        marks = ", ".join("?" * len(RawPair._fields))
        self.db.executemany(f"INSERT INTO raw ({', '.join(RawPair._fields)}) VALUES ({marks})", pairs)

    def one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first row of a query, None without."""
        return self.db.execute(sql, values).fetchone()

    def shared_queries(self, shown: int) -> tuple[int, int, list[tuple[int, int, str, int, int]]]:
        """(queries in several splits, their rows outside the last, examples: file, row, query, split, last split)."""
        several = "SELECT query_key, max(split) AS last FROM raw GROUP BY query_key HAVING min(split) < max(split)"
        self.db.execute(f"CREATE TABLE shared AS {several}")
        self.db.execute("CREATE INDEX shared_key ON shared (query_key)")
        match = "FROM raw JOIN shared USING (query_key) WHERE split < last"
        queries, rows = self.one("SELECT count(*) FROM shared")[0], self.one(f"SELECT count(*) {match}")[0]
        return queries, rows, self.db.execute(f"SELECT file, row, query, split, last {match} LIMIT ?", (shown,)).fetchall()

    def drop_shared(self) -> None:
        self.db.execute("DELETE FROM raw WHERE split < (SELECT last FROM shared WHERE shared.query_key = raw.query_key)")

    def twins(self, contradictory: bool, shown: int) -> tuple[int, list[Twin]]:
        """(rows, examples) of pairs that stand several times: surplus rows of equal labels, all rows of differing ones."""
        if self.one("SELECT 1 FROM sqlite_master WHERE name = 'twins'") is None:
            self.db.execute(_TWINS)
            self.db.execute("CREATE INDEX twins_pair ON twins (pair)")
        which = "labels > 1" if contradictory else "labels = 1"
        surplus = 0 if contradictory else 1
        rows = self.one(f"SELECT coalesce(sum(rows - {surplus}), 0) FROM twins WHERE {which}")[0]
        sql = f"""SELECT raw.file, raw.row, raw.query, raw.item_id, old.file, old.row
            FROM raw JOIN twins USING (pair, query, item_id) JOIN raw AS old ON old.seq = twins.first
            WHERE {which} AND raw.seq > twins.first LIMIT ?"""
        return rows, [Twin(*found) for found in self.db.execute(sql, (shown,))] if rows else []

    def drop_twins(self, contradictory: bool) -> None:
        """Leave the first of equal rows, none of contradictory ones."""
        which = "labels > 1" if contradictory else "labels = 1 AND raw.seq > twins.first"
        self.db.execute(f"DELETE FROM raw WHERE seq IN (SELECT raw.seq FROM raw JOIN twins USING (pair, query, item_id) WHERE {which})")

    def arrange(self) -> None:
        """Fill `pairs` in serving order and close the store for writing."""
        columns = "split, query_id, query, item_id, label, gold, difficulty, fields"
        self.db.execute(f"INSERT INTO pairs ({columns}) SELECT {columns} FROM raw ORDER BY split, turn, pair, seq")
        self.db.execute("DROP TABLE raw")
        self.finish()

    def finish(self) -> None:
        self.db.execute("COMMIT")
        self.db.close()

    def connect(self) -> sqlite3.Connection:
        """A reader of the finished store."""
        return sqlite3.connect(f"file:{self._path}?immutable=1", uri=True, check_same_thread=False)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of the finished store, streamed; a connection each, so safe from any thread or process."""
        with closing(self.connect()) as db:
            yield from db.execute(sql, values)

"""The store of offline answers: one SQLite file that a filler writes and the service reads, in WAL mode, so that neither waits.

Every row carries the version of the answers (policy, prompt, source) and a checksum over key, version and probabilities. A row of another
version, a row that does not match its checksum, a file that SQLite cannot read, no row at all: each is counted and answered with None,
never with a label.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lore_lab.data.example import Example
from lore_lab.stages.keys import digest

OUTCOMES = ("hit", "absent", "stale", "damaged")
#: what may become of a cache file
STATES = ("whole", "empty", "stale", "damaged")
_TABLE = """CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, version TEXT NOT NULL, probabilities BLOB NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID"""


def answers_version(config: Mapping[str, Any], policy: str, head: Sequence[str] | None = None) -> str:
    """What answers are of: the policy, by its key or the checksum of its weights, how it is asked, and the source. config: a point's sections.
    head: the lines before the query, None: as the lab writes them."""
    asked = {name: config[name] for name in ("data", "prompt", "features", "format")} | ({"instructions": list(head)} if head else {})
    return digest(asked | {"policy": policy})


def pair_key(example: Example, fields: Sequence[str], query_fields: Sequence[str]) -> bytes:
    """16 bytes of what the judge sees of a pair: an item whose visible text was edited is another pair."""
    seen = [example.query, [example.query_fields.get(name, "") for name in query_fields], [example.item.get(name, "") for name in fields]]
    return hashlib.blake2b(json.dumps(seen).encode(), digest_size=16).digest()


def _checksum(key: bytes, version: str, probabilities: bytes) -> bytes:
    return hashlib.blake2b(probabilities, digest_size=16, key=key, salt=hashlib.blake2b(version.encode(), digest_size=16).digest()).digest()


def fill(path: Path, version: str, rows: Iterable[tuple[bytes, np.ndarray]]) -> int:
    """Write (key, probabilities (grades,)) rows of `version` in one transaction, over what stood under their keys; returns how many.

    Raises sqlite3.DatabaseError where the file is damaged: remove it and fill it again.
    """
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        with connection:
            connection.execute(_TABLE)
            packed = ((key, np.asarray(values, "<f8").tobytes()) for key, values in rows)
            cursor = connection.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                ((key, version, values, _checksum(key, version, values)) for key, values in packed),
            )
        return max(cursor.rowcount, 0)
    finally:
        connection.close()


class AnswerCache:
    """Reads answers of one version. `counts` has every lookup by its outcome. Threads may share it."""

    def __init__(self, path: Path, version: str, grades: int) -> None:
        """path need not exist: a cache that is not there is an empty one."""
        self.path, self.version, self.grades = path, version, grades
        self.counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def lookup(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """Probabilities (grades,) of each key, None where there is no answer that can be trusted."""
        with self._lock:
            found = [self._one(key) for key in keys]
        return found

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _one(self, key: bytes) -> np.ndarray | None:
        try:
            row = self._row(key)
        except (sqlite3.Error, UnicodeDecodeError):  # a damaged page can hold text that is none
            self._close()  # the file may have been replaced by a whole one
            outcome, answer = "damaged", None
        else:
            outcome, answer = self._judge(key, row)
        self.counts[outcome] += 1
        return answer

    def _row(self, key: bytes) -> tuple[object, object, object] | None:
        if self._connection is None:
            if not self.path.is_file() or not self.path.stat().st_size:
                return None
            self._connection = sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True, check_same_thread=False)
        rows = self._connection.execute("SELECT version, probabilities, checksum FROM answers WHERE key = ?", (key,))
        row: tuple[object, object, object] | None = rows.fetchone()
        return row

    def _judge(self, key: bytes, row: tuple[object, object, object] | None) -> tuple[str, np.ndarray | None]:
        if row is None:
            return "absent", None
        version, values, checksum = row
        if not isinstance(version, str) or not isinstance(values, bytes) or _checksum(key, version, values) != checksum:
            return "damaged", None
        if version != self.version or len(values) != 8 * self.grades:
            return "stale", None
        return "hit", np.frombuffer(values, "<f8")

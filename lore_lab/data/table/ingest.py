"""Tables to the on-disk index: every row is joined, labelled, dealt to a split, or counted as a problem."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lore_lab.config.table import ProblemsConfig, TableConfig
from lore_lab.data.leaks import normalise_query
from lore_lab.data.table.fields import STANDARD, FieldMap, as_text
from lore_lab.data.table.labels import Labels, UnknownLabelError, combine, disagreement
from lore_lab.data.table.problems import Problems, TableError, nearest, stop
from lore_lab.data.table.readers import Layout, Record, find_files, open_records
from lore_lab.data.table.store import SPLITS, RawPair, Store

#: what invalid bytes were decoded to
DAMAGE = "\ufffd"


def digest(*parts: object) -> int:
    """64-bit signed hash of the parts, the same on every machine and in every version."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


class Table:
    """The files of one role (pairs, products, queries, raters): columns checked at once, rows filtered and counted."""

    def __init__(
        self,
        role: str,
        config: TableConfig,
        file: str | None,
        needed: Mapping[str, str],
        fields: Mapping[str, Sequence[str]] | None = None,
        where: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """needed: column -> the setting that names it. Raises TableError on a missing file or column."""
        self.role, self.layout = role, Layout.of(config)
        self.problems = Problems(config.problems)
        self.paths = find_files(Path(config.path), file)
        self.where = {column: set(map(str, values)) for column, values in (where or {}).items()}
        self.needed = dict(needed) | dict.fromkeys(self.where, f"data.{role}.where")
        self.map = FieldMap(fields or {})
        self.rows = self.filtered = 0
        self._check(guess=fields is not None and not fields and not config.products.file)

    def _check(self, guess: bool) -> None:
        for path in self.paths:
            # what is wrong with single rows is counted when they are read
            columns, _ = open_records(path, self.layout, lambda column: False, Problems(_silent(self.problems)))
            for column, key in self.needed.items():
                if column not in columns:
                    hint = "; is data.encoding right?" if any(set(name) & {DAMAGE, "\0"} for name in columns) else ""
                    raise TableError(f"{path.name} has no column {column!r} ({key}){nearest(column, columns)}{hint}")
            if guess and not self.map.spec:
                self.map = FieldMap({name: [name] for name in STANDARD if name in columns})
                if not self.map.spec:
                    raise TableError(f"{path.name} has no column named {', '.join(STANDARD)}; name them in data.{self.role}.fields")
            for name, column in self.map.missing(columns):
                detail = f"no column {column!r} (data.{self.role}.fields.{name}){nearest(column, columns)}"
                self.problems.meet("missing_column", path.name, detail, drops=0)
        stop({self.role: self.problems})

    def wants(self, column: str) -> bool:
        return column in self.needed or self.map.wants(column)

    def records(self) -> Iterator[tuple[int, Record]]:
        """(number of the file, row) of the rows that pass `where`."""
        for number, path in enumerate(self.paths):
            for record in open_records(path, self.layout, self.wants, self.problems)[1]:
                self.rows += 1
                if all(as_text(record.values.get(column)) in allowed for column, allowed in self.where.items()):
                    yield number, record
                else:
                    self.filtered += 1

    def damaged(self, record: Record, texts: Mapping[str, str]) -> bool:
        """Whether the row stays out because a text holds bytes that could not be decoded."""
        for name, text in texts.items():
            if DAMAGE in text:
                at = text.index(DAMAGE)
                detail = f"not {self.layout.encoding.removesuffix('-sig')}: {text[max(0, at - 20) : at + 20]!r} (data.encoding)"
                return self.problems.meet("encoding", record.place(name), detail)
        return False

    def report(self) -> dict[str, Any]:
        """rows = filtered + dropped of all problems + what went on."""
        unreadable = sum(self.problems.found[kind].count for kind in ("malformed", "long_line"))
        return {
            "files": [path.name for path in self.paths],
            "rows": self.rows + unreadable,
            "filtered": self.filtered,
            "problems": self.problems.report(),
        }


def _silent(problems: Problems) -> ProblemsConfig:
    """Policies under which nothing stops."""
    return ProblemsConfig(**dict.fromkeys(problems.found, "drop"), max_row=1, examples=0)


def products_table(config: TableConfig) -> Table:
    """The product table; a catalogue's file may be data.path itself."""
    products = config.products
    return Table("products", config, products.file, {products.id: "data.products.id"}, products.fields, products.where)


def load_items(table: Table, store: Store, id_column: str) -> None:
    """Fill `items`: id and rendered fields as JSON."""
    for _, record in table.records():
        fields = table.map.render(record.values)
        text = json.dumps(fields, ensure_ascii=False)
        if DAMAGE in text and table.damaged(record, fields):
            continue
        key = as_text(record.values.get(id_column))
        if not store.add("items", ("id", "fields"), (key, text)):
            table.problems.meet("duplicate_id", record.place(id_column), f"{key!r} stands above already")


class Ingest:
    """One pass over every table of a config. `run` fills the store; raises TableError on what the policies forbid."""

    def __init__(self, config: TableConfig, labels: Labels) -> None:
        self.config, self.labels = config, labels
        pairs, raters = config.pairs, config.raters
        named = {"query_id": pairs.query_id, "item_id": pairs.item_id, "label": pairs.label, "split": pairs.split}
        if not config.queries.file:
            named["query"] = pairs.query
        needed = {column: f"data.pairs.{key}" for key, column in named.items() if column}
        if not raters.file:
            needed |= dict.fromkeys(raters.columns, "data.raters.columns")
        self.pairs = Table("pairs", config, pairs.file, needed, pairs.fields, pairs.where)
        self.tables = {"pairs": self.pairs}
        if config.products.file:
            self.tables["products"] = products_table(config)
        if config.queries.file:
            columns = {config.queries.id: "data.queries.id", pairs.query: "data.pairs.query"}
            self.tables["queries"] = Table("queries", config, config.queries.file, columns)
        if raters.file:
            columns = {pairs.query: "data.pairs.query", str(pairs.item_id): "data.pairs.item_id"}
            columns |= dict.fromkeys(raters.columns, "data.raters.columns")
            self.tables["raters"] = Table("raters", config, raters.file, columns)
        self.place_of = lru_cache(65536)(self._place_of)  # rows of a query usually stand together

    def run(self, store: Store) -> None:
        if "queries" in self.tables:
            self._load_queries(self.tables["queries"], store)
        if "products" in self.tables:
            load_items(self.tables["products"], store, self.config.products.id)
        if "raters" in self.tables:
            self._load_votes(self.tables["raters"], store)
        found = (self._pair(number, record, store) for number, record in self.pairs.records())
        store.add_pairs(pair for pair in found if pair is not None)
        if self.config.pairs.split:
            self._find_shared_queries(store)
        self._find_twins(store)
        stop({role: table.problems for role, table in self.tables.items()})
        if not store.one("SELECT 1 FROM raw LIMIT 1"):
            raise TableError(f"{self.pairs.paths[0].name}: no pair is left of {self.pairs.rows} rows ({self.pairs.filtered} filtered out)")
        store.arrange()

    # --- joined tables

    def _load_queries(self, table: Table, store: Store) -> None:
        columns = self.config.queries.id, self.config.pairs.query
        for _, record in table.records():
            key, text = (as_text(record.values.get(column)) for column in columns)
            if table.damaged(record, {columns[1]: text}):
                continue
            if not store.add("queries", ("id", "text"), (key, text)):
                table.problems.meet("duplicate_id", record.place(columns[0]), f"{key!r} stands above already")

    def _load_votes(self, table: Table, store: Store) -> None:
        query, item = self.config.pairs.query, str(self.config.pairs.item_id)
        for _, record in table.records():
            votes = self._votes(table, record)
            if votes is None:
                continue
            key = (as_text(record.values.get(query)), as_text(record.values.get(item)))
            if not store.add("votes", ("query", "item_id", "grades"), (*key, json.dumps(votes))):
                table.problems.meet("duplicate_id", record.place(), f"query {key[0]!r} with item {key[1]!r} stands above already")

    def _votes(self, table: Table, record: Record) -> list[int] | None:
        """The raters' grades of a row, empty cells left out; None when the row stays out."""
        votes = []
        for column in self.config.raters.columns:
            cell = record.values.get(column)
            if as_text(cell) == "":
                continue
            try:
                votes.append(self.labels.grade(cell))
            except UnknownLabelError as error:
                table.problems.meet("unknown_label", record.place(column), str(error))
                return None
        return votes

    # --- pairs

    def _pair(self, file: int, record: Record, store: Store) -> RawPair | None:
        """The row as it goes into the store; None when it stays out, which is counted."""
        columns, values = self.config.pairs, record.values
        query_id = as_text(values.get(columns.query_id)) if columns.query_id else ""
        query = self._query(record, query_id, store)
        if query is None:
            return None
        item = self._item(record, query, store)
        if item is None:
            return None
        item_id, fields = item
        grades = self._grades(record, query, item_id, store)
        if grades is None:
            return None
        label, gold, difficulty = grades
        key, share = self.place_of(query)
        split = self._split(record, share)
        if split is None:
            return None
        pair = digest(self.config.seed, query, item_id)
        turn = pair if split == 0 else digest(self.config.seed, key)
        query_id = query_id or f"{key & (2**64 - 1):016x}"
        return RawPair(file, record.row, split, key, turn, pair, query_id, query, item_id, label, gold, difficulty, fields)

    def _query(self, record: Record, query_id: str, store: Store) -> str | None:
        column = self.config.pairs.query
        if "queries" in self.tables:
            column = str(self.config.pairs.query_id)
            found = store.one("SELECT text FROM queries WHERE id = ?", (query_id,))
            if found is None and self.pairs.problems.meet("unjoined", record.place(column), f"no query has the id {query_id!r}"):
                return None
            query = found[0] if found else ""
        else:
            query = as_text(record.values.get(column))
            if self.pairs.damaged(record, {column: query}):
                return None
        if not query and self.pairs.problems.meet("empty_text", record.place(column), "the query is empty"):
            return None
        return query

    def _item(self, record: Record, query: str, store: Store) -> tuple[str, str] | None:
        """(item id, fields of the pair's own row as JSON)."""
        fields = self.pairs.map.render(record.values)
        text = json.dumps(fields, ensure_ascii=False)
        if DAMAGE in text and self.pairs.damaged(record, fields):
            return None
        column = self.config.pairs.item_id
        item_id = as_text(record.values.get(column)) if column else f"{digest(text) & (2**64 - 1):016x}"
        empty = not fields
        if "products" in self.tables:
            found = store.one("SELECT fields = '{}' FROM items WHERE id = ?", (item_id,))
            if found is None and self.pairs.problems.meet("unjoined", record.place(column), f"no product has the id {item_id!r}"):
                return None
            empty = empty and (found is None or bool(found[0]))
        if empty and self.pairs.problems.meet("empty_text", record.place(column), "the item has no text in any visible field"):
            return None
        return item_id, text

    def _grades(self, record: Record, query: str, item_id: str, store: Store) -> tuple[int, int, float | None] | None:
        """(training label, gold, difficulty)."""
        config, published = self.config, None
        if config.pairs.label:
            try:
                published = self.labels.grade(record.values.get(config.pairs.label))
            except UnknownLabelError as error:
                self.pairs.problems.meet("unknown_label", record.place(config.pairs.label), str(error))
                return None
        if not config.raters.columns:
            assert published is not None  # checked with the config
            return published, published, None
        if "raters" in self.tables:
            found = store.one("SELECT grades FROM votes WHERE query = ? AND item_id = ?", (query, item_id))
            votes = json.loads(found[0]) if found else []
        else:
            own = self._votes(self.pairs, record)
            if own is None:
                return None
            votes = own
        if not votes:
            detail = f"no single rater for query {query[:60]!r}, item {item_id!r}"
            if self.pairs.problems.meet("unrated", record.place(), detail) or published is None:
                return None
            return published, published, None
        policy = config.raters.policy
        label = published if policy == "published" and published is not None else combine(votes, policy)
        return label, label if published is None else published, disagreement(votes, len(self.labels.grades))

    def _place_of(self, query: str) -> tuple[int, float]:
        """(hash of the normalised query, its place in [0, 1) that decides the split)."""
        key = digest(normalise_query(query))
        return key, (digest(self.config.split.seed, key) + 2**63) / 2**64

    def _split(self, record: Record, share: float) -> int | None:
        split, column = self.config.split, self.config.pairs.split
        if column is None:
            return 2 if share < split.wild else 1 if share < split.wild + split.validation else 0
        value = as_text(record.values.get(column))
        if value not in split.values:
            detail = f"{value[:80]!r} is no published split{nearest(value, split.values)} (data.split.values)"
            self.pairs.problems.meet("unknown_split", record.place(column), detail)
            return None
        name = split.values[value]
        if name == "train" and "validation" not in split.values.values() and share < split.validation:
            return 1
        return SPLITS.index(name)

    # --- checks over all pairs

    def _name(self, file: int, row: int) -> str:
        return f"{self.pairs.paths[file].name} row {row}"

    def _find_shared_queries(self, store: Store) -> None:
        problems = self.pairs.problems
        queries, rows, examples = store.shared_queries(max(1, problems.shown))
        if not queries:
            return
        drops = rows
        for file, row, query, split, last in examples:
            problems.meet("shared_query", self._name(file, row), f"{query!r} is in {SPLITS[split]} and in {SPLITS[last]}", 1, 1)
        problems.meet("shared_query", "", "", rows - len(examples), drops - len(examples))
        if problems.found["shared_query"].policy == "drop":
            store.drop_shared()

    def _find_twins(self, store: Store) -> None:
        problems = self.pairs.problems
        for kind, contradictory in (("duplicate", False), ("contradictory", True)):
            rows, examples = store.twins(contradictory, max(1, problems.shown))
            for twin in examples:
                other = " with another label" if contradictory else ""
                first = self._name(twin.first_file, twin.first_row)
                detail = f"query {twin.query[:60]!r}, item {twin.item_id!r} stands at {first}{other}"
                problems.meet(kind, self._name(twin.file, twin.row), detail)
            if rows > len(examples):
                problems.meet(kind, "", "", rows - len(examples), rows - len(examples))
            if rows and problems.found[kind].policy == "drop":
                store.drop_twins(contradictory)

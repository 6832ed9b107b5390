"""Rows of a file, whatever its format, one at a time in constant memory.

A bad row is counted and skipped; a file that cannot be read at all is a TableError. Cells are data: nothing is evaluated.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from lore_lab.data.table.problems import Problems, TableError, nearest

if TYPE_CHECKING:
    from lore_lab.config.table import TableConfig

#: rows of JSON lines looked at to learn which keys there are
PEEK = 1000
#: rows of a Parquet or Arrow batch
BATCH = 2048
_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Record(NamedTuple):
    """One row: where it stands (row: line number in text files, 1-based index in others) and its cells."""

    file: str
    row: int
    values: dict[str, Any]

    def place(self, column: str | None = None) -> str:
        return f"{self.file} row {self.row}" + (f", column {column!r}" if column else "")


@dataclass(frozen=True)
class Layout:
    """How files are laid out; the fields are those of TableConfig."""

    format: str | None
    encoding: str
    delimiter: str | None
    quoting: bool
    max_row: int

    @classmethod
    def of(cls, config: TableConfig) -> Layout:
        try:
            # the BOM that spreadsheet programs write is no part of the first column's name
            encoding = "utf-8-sig" if codecs.lookup(config.encoding).name == "utf-8" else config.encoding
        except LookupError:
            raise TableError(f"data.encoding={config.encoding!r} is no encoding{nearest(config.encoding, _ENCODINGS)}") from None
        return cls(config.format, encoding, config.delimiter, config.quoting, config.problems.max_row)

    def format_of(self, path: Path) -> str:
        """The format of one file: as configured, else by suffix (under .gz)."""
        if self.format:
            return self.format
        if path.is_dir():
            return "hf"
        suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
        if not suffixes or suffixes[-1].lower() not in _FORMATS:
            raise TableError(f"{path}: no format is known for this suffix; set data.format to csv, tsv, jsonl, parquet or hf")
        return _FORMATS[suffixes[-1].lower()]


_ENCODINGS = ("utf-8", "utf-16", "latin-1", "cp1252", "iso-8859-15", "shift_jis", "gb18030", "euc-jp", "big5")


def find_files(root: Path, pattern: str | None) -> list[Path]:
    """The files `pattern` names under `root` (a plain name or a glob), sorted; `root` itself without a pattern."""
    if not root.exists():
        siblings = [str(root.parent / p.name) for p in root.parent.iterdir()] if root.parent.is_dir() else []
        raise TableError(f"data.path={root} does not exist{nearest(str(root), siblings)}")
    if pattern is None or root.is_file():
        return [root]
    found = sorted(root.glob(pattern))
    if not found:
        raise TableError(f"{root} holds no {pattern!r}{nearest(pattern, (p.name for p in root.iterdir()))}")
    return found


def open_records(path: Path, layout: Layout, wanted: Callable[[str], bool], problems: Problems) -> tuple[list[str], Iterator[Record]]:
    """(columns of the file, its records). `wanted` says which columns are needed; columnar formats read no others."""
    kind = layout.format_of(path)
    if kind == "parquet":
        columns, records = _parquet(path, wanted, problems)
    elif kind == "hf":
        columns, records = _hugging_face(path, wanted, problems)
    elif kind == "jsonl":
        columns, records = _json_lines(path, layout, problems)
    else:
        columns, records = _delimited(path, layout, layout.delimiter or ("\t" if kind == "tsv" else ","), problems)
    return columns, _short_enough(records, layout.max_row, problems)


def _short_enough(records: Iterator[Record], limit: int, problems: Problems) -> Iterator[Record]:
    for record in records:
        size = sum(len(value) for value in record.values.values() if isinstance(value, str))
        if size > limit:
            problems.meet("long_line", record.place(), f"{size:,} characters, data.problems.max_row is {limit:,}")
        else:
            yield record


# --- text files


class _LongLineError(Exception):
    """A line was over the limit; its text is gone, the next line is intact."""


class _Lines:
    """Lines of a text file, none held that is longer than `limit` characters."""

    def __init__(self, path: Path, encoding: str, limit: int) -> None:
        self.path, self.limit, self.number, self.used = path, limit, 0, 0
        opener = gzip.open if path.suffix == ".gz" else open
        # undecodable bytes become U+FFFD, which is counted where the cell is used
        self.stream = cast(TextIO, opener(path, "rt", encoding=encoding, errors="replace", newline=""))

    def begin(self) -> int:
        """Start a row, which may take several lines: the limit holds for all of them. Returns the number of its first line."""
        self.used = 0
        return self.number + 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self.used += len(line)
        whole = len(line) < self.limit or line.endswith(("\n", "\r"))
        if whole and self.used <= self.limit:
            return line
        size, earlier = len(line), self.used - len(line)
        while line and not whole:
            line = self._read()
            size += len(line)
            whole = line.endswith(("\n", "\r"))
        if earlier:
            raise csv.Error(f"the row has over {self.limit:,} characters")
        raise _LongLineError(f"{size:,} characters, data.problems.max_row is {self.limit:,}")

    def __del__(self) -> None:  # not at the end: a reader in an open quote asks again after it
        self.stream.close()

    def _read(self) -> str:
        try:
            return self.stream.readline(self.limit)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TableError(f"{self.path.name} row {self.number + 1}: the compressed file is damaged ({error})") from None
        except UnicodeError as error:
            raise TableError(f"{self.path.name} row {self.number + 1}: {error}; is data.encoding right?") from None


def _delimited(path: Path, layout: Layout, delimiter: str, problems: Problems) -> tuple[list[str], Iterator[Record]]:
    lines = _Lines(path, layout.encoding, layout.max_row)
    # the limit of a row is kept by _Lines: csv's own, which holds for the whole process, must only not be below it
    csv.field_size_limit(max(csv.field_size_limit(), layout.max_row))
    rows = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if layout.quoting else csv.QUOTE_NONE)
    try:
        columns = [name.strip() for name in next(rows)]
    except StopIteration:
        raise TableError(f"{path.name} is empty: a header line was expected") from None
    except (_LongLineError, csv.Error) as error:
        raise TableError(f"{path.name} row 1: no header line ({error})") from None
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise TableError(f"{path.name} row 1: column {repeated[0]!r} stands twice in the header")
    return columns, _delimited_rows(path.name, columns, rows, lines, problems)


def _delimited_rows(file: str, columns: list[str], rows: Iterator[list[str]], lines: _Lines, problems: Problems) -> Iterator[Record]:
    while True:
        row = lines.begin()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except _LongLineError as error:
            problems.meet("long_line", f"{file} row {lines.number}", str(error))
        except csv.Error as error:
            problems.meet("malformed", f"{file} row {row}", f"{error}{_span(row, lines.number)}")
        else:
            if len(cells) == len(columns):
                yield Record(file, row, dict(zip(columns, cells, strict=True)))
            elif cells:  # a blank line is no row
                problems.meet(
                    "malformed",
                    f"{file} row {row}",
                    f"{len(cells)} cells, the header has {len(columns)}{_span(row, lines.number)}",
                )


def _span(first: int, last: int) -> str:
    return f" (lines {first} to {last}: a quote that is never closed?)" if last > first else ""


def _json_lines(path: Path, layout: Layout, problems: Problems) -> tuple[list[str], Iterator[Record]]:
    records = _json_rows(path, layout, problems)
    first = list(islice(records, PEEK))
    columns = list(dict.fromkeys(key for record in first for key in record.values))
    return columns, chain(first, records)


def _json_rows(path: Path, layout: Layout, problems: Problems) -> Iterator[Record]:
    lines = _Lines(path, layout.encoding, layout.max_row)
    while True:
        lines.begin()
        try:
            line = next(lines)
        except StopIteration:
            return
        except _LongLineError as error:
            problems.meet("long_line", f"{path.name} row {lines.number}", str(error))
            continue
        if line.isspace():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.meet("malformed", f"{path.name} row {lines.number}", f"not JSON: {error}")
            continue
        if not isinstance(values, dict):
            problems.meet("malformed", f"{path.name} row {lines.number}", f"a JSON object was expected, not {type(values).__name__}")
            continue
        if _ESCAPED_SURROGATE.search(line):
            values = _without_lone_surrogates(values)
        yield Record(path.name, lines.number, values)


def _without_lone_surrogates(value: Any) -> Any:
    """Half a surrogate pair is no text: it becomes U+FFFD and is counted as an encoding problem."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_lone_surrogates(part) for part in value]
    if isinstance(value, dict):
        return {_without_lone_surrogates(key): _without_lone_surrogates(part) for key, part in value.items()}
    return value


# --- columnar files


def _parquet(path: Path, wanted: Callable[[str], bool], problems: Problems) -> tuple[list[str], Iterator[Record]]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path.name} is no readable Parquet file ({error})") from None
    columns = file.schema_arrow.names
    names = [name for name in columns if wanted(name)]
    batches = file.iter_batches(batch_size=BATCH, columns=names, use_threads=False)
    return columns, _arrow_rows(path.name, batches, {})


def _hugging_face(path: Path, wanted: Callable[[str], bool], problems: Problems) -> tuple[list[str], Iterator[Record]]:
    """A directory of `save_to_disk`. The splits of a DatasetDict become the column `split`."""
    import datasets  # slow to import, needed for this format alone

    try:
        loaded = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError, pa.ArrowException) as error:
        raise TableError(f"{path} is no Hugging Face datasets directory ({error})") from None
    parts = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
    columns = list(dict.fromkeys(name for part in parts.values() for name in part.column_names))

    def rows() -> Iterator[Record]:
        for split, part in parts.items():
            names = [name for name in part.column_names if wanted(name)]
            batches = part.select_columns(names).with_format("arrow").iter(batch_size=BATCH)
            yield from _arrow_rows(f"{path.name}/{split}".rstrip("/"), batches, {"split": split} if split else {})

    return columns + (["split"] if "" not in parts and "split" not in columns else []), rows()


def _arrow_rows(file: str, batches: Iterable[pa.RecordBatch | pa.Table], extra: dict[str, str]) -> Iterator[Record]:
    row = 0
    try:
        for batch in batches:
            names = batch.column_names
            for cells in zip(*(_cells(batch.column(name)) for name in names), strict=True):
                row += 1
                yield Record(file, row, extra | dict(zip(names, cells, strict=True)))
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{file} row {row + 1}: the file is damaged ({error})") from None


def _cells(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    try:
        cells: list[Any] = column.to_pylist()
        return cells
    except UnicodeDecodeError:  # Arrow does not check what a writer called text
        return [None if cell is None else cell.decode("utf-8", "replace") for cell in column.cast(pa.binary()).to_pylist()]

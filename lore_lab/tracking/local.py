"""Curves on local disk, the record everything else is made from.

While a stage runs, every attempt appends to its own Arrow stream `curves-<n>.arrow` of (step, name, value); a finished stage holds
one `curves.parquet`. Long form, because the set of metrics changes from step to step. A truncated tail costs at most its last step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = pa.schema([("step", pa.int64()), ("name", pa.string()), ("value", pa.float64())])
PARQUET = "curves.parquet"


class CurveWriter:
    """Appends metrics to a new stream in `folder`; one flush a call, so that another process can follow."""

    def __init__(self, folder: Path, prefix: str) -> None:
        """prefix: the stage's name; metrics are stored as "<prefix>/<name>"."""
        attempt = len(list(folder.glob("curves-*.arrow")))
        self._sink = (folder / f"curves-{attempt:03d}.arrow").open("wb")
        self._stream = pa.ipc.new_stream(self._sink, SCHEMA)
        self._prefix = prefix

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record numbers of one step; what is no finite number is left out."""
        names = [name for name, value in metrics.items() if isinstance(value, (int, float)) and math.isfinite(value)]
        columns = [[step] * len(names), [f"{self._prefix}/{name}" for name in names], [float(metrics[name]) for name in names]]
        self._stream.write_batch(
            pa.record_batch([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
        )
        self._sink.flush()

    def close(self) -> None:
        self._stream.close()
        self._sink.close()


def _read_stream(path: Path) -> pa.Table:
    """Every whole record batch of a stream that may end anywhere."""
    batches = []
    try:
        with pa.ipc.open_stream(path.read_bytes()) as reader:
            for batch in reader:
                batches.append(batch)
    except (pa.ArrowInvalid, OSError):
        pass  # the tail was cut by a kill; what came before it is whole
    return pa.Table.from_batches(batches, SCHEMA)


def read_table(folder: Path) -> pa.Table:
    """Curves of a finished or running stage: columns step, name, value, ordered by step then name.

    Where attempts overlap (a resumed stage repeats steps after its checkpoint), the later attempt's value stands.
    """
    if (folder / PARQUET).is_file():
        return pq.read_table(folder / PARQUET)
    tables = [_read_stream(path) for path in sorted(folder.glob("curves-*.arrow"))]
    rows = {
        (step, name): value for table in tables for step, name, value in zip(*(table[c].to_pylist() for c in SCHEMA.names), strict=True)
    }
    ordered = sorted(rows.items())
    columns = [[key[0] for key, _ in ordered], [key[1] for key, _ in ordered], [value for _, value in ordered]]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def read_curves(folder: Path) -> pd.DataFrame:
    """`read_table` as pandas."""
    return read_table(folder).to_pandas()


def finish_curves(work: Path, output: Path) -> None:
    """Merge the attempts in `work` into the artifact's one file."""
    pq.write_table(read_table(work), output / PARQUET)

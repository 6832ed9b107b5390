"""How fast and in how much memory a table streams: python benchmarks/table_stream.py [rows] [csv|parquet] [products]

Writes a table of `rows` pairs joined to `products` products into a temporary folder, reads it through TableSource to the last
training example, and prints seconds and the peak resident memory of this process.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lore_lab.config.table import read_config
from lore_lab.data.table import TableSource

_WORDS = [a + b for a in ("bra", "cel", "dor", "fin", "gar", "hol", "mer", "nor", "pal", "sil") for b in ("ta", "ben", "min", "ro", "kel")]
_CHUNK = 100_000


def batches(rows: int, products: int) -> Iterator[pa.RecordBatch]:
    """Pairs, ten items a query."""
    generator = random.Random(0)
    for start in range(0, rows, _CHUNK):
        numbers = range(start, min(start + _CHUNK, rows))
        queries = [f"{_WORDS[n // 10 % 50]} {_WORDS[n // 500 % 50]} {n // 10}" for n in numbers]
        # seven items apart: no pair comes twice within a query
        items = [str((n // 10 * 31 + n % 10 * 7) % products) for n in numbers]
        labels = [str(generator.randrange(4)) for _ in numbers]
        yield pa.record_batch({"query": queries, "product_id": items, "label": labels})


def write(folder: Path, rows: int, kind: str, products: int) -> str:
    """Write pairs and products; the name of the pairs file."""
    generator = random.Random(1)
    texts = [" ".join(generator.choices(_WORDS, k=60)) for _ in range(1000)]
    table = pa.table(
        {
            "id": [str(i) for i in range(products)],
            "title": [f"{_WORDS[i % 50]} {_WORDS[i // 50 % 50]} {i}" for i in range(products)],
            "description": [texts[i % 1000] for i in range(products)],
        }
    )
    pq.write_table(table, folder / "products.parquet")
    first = next(batches(1, products))
    name = f"pairs.{kind}"
    if kind == "parquet":
        with pq.ParquetWriter(folder / name, first.schema) as writer:
            for batch in batches(rows, products):
                writer.write_batch(batch)
    else:
        with pyarrow.csv.CSVWriter(folder / name, first.schema) as writer:
            for batch in batches(rows, products):
                writer.write_batch(batch)
    return name


def main(rows: int = 10_000_000, kind: str = "csv", products: int = 1_000_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # in a process of its own, so that this one's peak memory is that of reading
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            name = pool.submit(write, Path(folder), rows, kind, products).result()
        config = read_config("table", path=folder)
        config.pairs.file, config.pairs.item_id = name, "product_id"
        config.products.file, config.products.fields = "products.parquet", {"title": ["title"], "description": ["description"]}
        config.labels.grades, config.labels.relevant_from = ["0", "1", "2", "3"], "2"
        began = time.perf_counter()
        source = TableSource(config)
        kept = sum(source.size(split) for split in ("train", "validation", "wild"))
        indexed = time.perf_counter()
        read = sum(1 for _ in source.examples("train"))
        done = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{rows:,} {kind} rows, {products:,} products: {kept:,} pairs indexed in {indexed - began:.0f} s")
        print(f"{read:,} training examples streamed in {done - indexed:.0f} s ({read / (done - indexed):,.0f} a second)")
        print(f"peak resident memory {peak:,.0f} MB")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(*[int(a) if a.isdigit() else a for a in arguments])  # type: ignore[arg-type]

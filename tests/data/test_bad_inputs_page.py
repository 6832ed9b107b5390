"""The table of bad inputs in docs/data.md: every row is tried, and prints what the row says."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lore_lab.config.table import TableConfig, read_config
from lore_lab.data.table import TableError, open_table

ROOT = Path(__file__).resolve().parents[2]
CHORUS = ROOT.parent / "shared" / "data" / "chorus"
GOOD = "query,item_id,label\nred shoe,a,relevant\nblue hat,b,irrelevant\n"
PRODUCTS = '{"id": "a", "title": "shoe"}\n{"id": "b", "title": "hat"}\n{"id": "c", "description": "no title"}\n'
SMALL = "query,title,label\nred shoe,shoe,relevant\nblue hat,hat,irrelevant\n"


def joined(pairs: str | bytes = GOOD, products: str = PRODUCTS, **values: object) -> Callable[[Path], TableConfig]:
    """Pairs joined to products. Keyword arguments: settings, "__" for the dot."""

    def make(folder: Path) -> TableConfig:
        (folder / "pairs.csv").write_bytes(pairs if isinstance(pairs, bytes) else pairs.encode())
        (folder / "products.jsonl").write_text(products)
        shape = {"pairs.item_id": "item_id", "products.file": "products.jsonl", "products.fields": {"title": ["title"]}}
        settings = (
            {"path": str(folder), "pairs.file": "pairs.csv"} | shape | {key.replace("__", "."): value for key, value in values.items()}
        )
        return read_config("table", **settings)

    return make


def alone(name: str, content: bytes | str, source: str = "table", **values: object) -> Callable[[Path], TableConfig]:
    """One file."""

    def make(folder: Path) -> TableConfig:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_config(source, path=str(folder / name), **{key.replace("__", "."): value for key, value in values.items()})

    return make


def long_line(folder: Path) -> TableConfig:
    with gzip.open(folder / "l.csv.gz", "wt", compresslevel=1) as file:
        file.write(SMALL.partition("\nblue")[0] + "\nx,")
        for _ in range(100):
            file.write("y" * 1_000_000)
        file.write(",relevant\n")
    return read_config("table", path=str(folder / "l.csv.gz"))


def published(values: dict[str, str]) -> Callable[[Path], TableConfig]:
    def make(folder: Path) -> TableConfig:
        rows = [
            ("hat", "hat", "relevant", "train"),
            ("hat", "cap", "relevant", "test"),
            ("shoe", "shoe", "relevant", values.get("last", "train")),
        ]
        pd.DataFrame(rows, columns=["query", "title", "label", "split"]).to_parquet(folder / "pairs.parquet")
        settings = {"pairs.split": "split", "split.values": {"train": "train", "test": "wild"}}
        return read_config("table", path=str(folder / "pairs.parquet"), **settings)

    return make


def score(folder: Path) -> TableConfig:
    (folder / "train.csv").write_text("product_uid,product_title,search_term,relevance\n1,hammer,hammer,33\n")
    (folder / "product_descriptions.csv").write_text("product_uid,product_description\n1,a hammer\n")
    return read_config("homedepot", path=str(folder))


def chorus(folder: Path) -> TableConfig:
    if not CHORUS.exists():
        pytest.skip(f"the chorus files are not at {CHORUS}")
    return read_config("chorus", path=str(CHORUS), **{"problems.unrated": "error"})


OPEN_QUOTE = '"open,shoe,relevant\n' + "".join(f"query {i},a,relevant\n" for i in range(200_000))
#: beginning of a row's first cell -> makes that input
TRIED: dict[str, Callable[[Path], TableConfig]] = {
    "a byte that is not UTF-8": joined(GOOD.encode() + b"caf\xe9,a,relevant\n"),
    "half a surrogate pair": joined(products=PRODUCTS + '{"id": "d", "title": "a\\ud800b"}\n'),
    "a UTF-16 file": alone("u.csv", SMALL.encode("utf-16")),
    "a row with too few cells": joined(GOOD + "red hat,a\n"),
    "a quote never closed": alone("pairs.csv", SMALL.splitlines()[0] + "\n" + OPEN_QUOTE),
    "a line that is no JSON object": joined(products=PRODUCTS + "{\n"),
    "a line of 100 MB": long_line,
    "a column missing": joined(GOOD.replace("query", "qurey")),
    "a field's column missing": joined(products__fields={"title": ["titel"]}),
    "an unknown label": joined(GOOD + "red hat,a,relevent\n"),
    "a score out of range": score,
    "an empty query": joined(GOOD + " ,a,relevant\nred hat,c,relevant\n"),
    "an id that joins to nothing": joined(GOOD + "red hat,z,relevant\n"),
    "a product id twice": joined(products=PRODUCTS + '{"id": "a", "title": "other"}\n'),
    "a pair twice, same label": joined(GOOD + "red shoe,a,relevant\n", problems__duplicate="error"),
    "a pair twice, other label": joined(GOOD + "red shoe,a,irrelevant\n"),
    "a query in two published splits": published({}),
    "an unknown published split": published({"last": "dev"}),
    "a pair without single raters": chorus,
    "half a gz file": alone("x.csv.gz", (whole := gzip.compress((SMALL * 500).encode(), compresslevel=0, mtime=0))[: len(whole) // 2]),
    "seven bytes called Parquet": alone("b.parquet", b"PAR1 no"),
    "an empty file": alone("e.csv", b""),
    "a header alone": alone("h.csv", b"query,title,label\n"),
    "a wrong file name": joined(pairs__file="pair.csv"),
    "a misspelt encoding": joined(encoding="utf8x"),
}


def rows() -> list[tuple[str, str]]:
    """(input, message) of every row of the page that prints something; a row of two inputs counts twice."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    table = page.partition("| input | default |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table]
    found = []
    for row in cells:
        inputs, messages = row[0].split("; "), row[-1].split(" / ")
        pieces = zip(inputs, messages, strict=True) if len(inputs) > 1 and inputs[1] in TRIED else [(row[0], row[-1])]
        found += [piece for piece in pieces if "`" in piece[1]]
    return found


@pytest.mark.parametrize(("tried", "message"), rows(), ids=lambda cell: cell[:30])
def test_an_input_of_the_page_prints_what_the_page_says(tmp_path: Path, tried: str, message: str) -> None:
    (make,) = [make for name, make in TRIED.items() if tried.startswith(name)]
    with pytest.raises(TableError) as caught:
        open_table(make(tmp_path)).size("train")
    printed = str(caught.value).replace("\ufffd", r"\ufffd").replace(str(tmp_path), "DIR")
    for quoted in re.findall(r"`([^`]+)`", message):
        for fragment in filter(None, map(str.strip, quoted.split("..."))):
            assert fragment in printed


def test_every_input_tried_stands_on_the_page() -> None:
    assert [name for name in TRIED if not any(tried.startswith(name) for tried, _ in rows())] == []

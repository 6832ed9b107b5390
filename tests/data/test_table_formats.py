"""The same pairs come out of every format."""

import gzip
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lore_lab.config.table import read_config
from lore_lab.data.table import TableError, TableSource

ROWS = [{"query": f"query {i // 3}", "title": f'Größe, {i} "x"', "label": "relevant" if i % 3 else "irrelevant"} for i in range(30)]


def write(folder: Path, kind: str, rows: list[dict] = ROWS) -> Path:
    columns = list(rows[0])
    if kind == "hf":
        import datasets

        datasets.Dataset.from_list(rows).save_to_disk(folder / "saved")
        return folder / "saved"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet")
        return folder / "pairs.parquet"
    path = folder / f"pairs.{kind}"
    if kind.startswith("jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        mark = "\t" if kind.startswith("tsv") else ","
        cells = [columns, *([row[column] for column in columns] for row in rows)]
        text = "".join(mark.join('"' + str(cell).replace('"', '""') + '"' for cell in line) + "\r\n" for line in cells)
    opener = gzip.open if kind.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        file.write(text)
    return path


def everything(source: TableSource) -> set[tuple]:
    splits = ("train", "validation", "wild")
    return {(e.query, e.item["title"], e.label, e.gold) for split in splits for e in source.examples(split)}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "csv.gz", "tsv.gz", "jsonl.gz", "hf"])
def test_every_format_gives_the_same_pairs(tmp_path, kind, capfd):
    source = TableSource(read_config("table", path=str(write(tmp_path, kind))))
    assert everything(source) == {(r["query"], r["title"], int(r["label"] == "relevant"), int(r["label"] == "relevant")) for r in ROWS}
    assert source.grades == ("irrelevant", "relevant")
    assert source.relevant_from == 1


def test_splits_of_a_dataset_dict_become_a_column(tmp_path, capfd):
    import datasets

    parts = {"train": datasets.Dataset.from_list(ROWS[:15]), "test": datasets.Dataset.from_list(ROWS[15:])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    config = read_config(
        "table", path=str(tmp_path / "saved"), **{"pairs.split": "split", "split.values": {"train": "train", "test": "wild"}}
    )
    assert {e.query for e in TableSource(config).examples("wild")} == {f"query {i}" for i in range(5, 10)}


def test_a_glob_reads_all_its_files_in_order(tmp_path):
    for shard in range(3):
        (tmp_path / f"part-{shard}.csv").write_text(f"query,title,label\nq{shard},t,relevant\n")
    source = TableSource(read_config("table", path=str(tmp_path), **{"pairs.file": "part-*.csv"}))
    assert source.report()["tables"]["pairs"]["files"] == ["part-0.csv", "part-1.csv", "part-2.csv"]
    assert len(everything(source)) == 3


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "pairs.csv"
    path.write_bytes("query,title,label\ncafé,Größe,relevant\n".encode(encoding))
    source = TableSource(read_config("table", path=str(path), encoding=encoding))
    assert everything(source) == {("café", "Größe", 1, 1)}


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes("query,title,label\nq,t,relevant\n".encode("utf-8-sig"))
    assert len(everything(TableSource(read_config("table", path=str(path))))) == 1


def test_numbers_lists_and_nested_cells_become_text(tmp_path):
    rows = [
        {
            "query": "q",
            "title": "t",
            "label": 1,
            "price": 3.0,
            "reviews": ["good", "bad"],
            "attributes": {"wide": True, "inch": 2.5},
        }
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(rows[0]))
    source = TableSource(read_config("table", path=str(path)))
    (example,) = [e for split in ("train", "validation", "wild") for e in source.examples(split)]
    assert example.item == {"title": "t", "price": "3", "reviews": "good, bad", "attributes": "wide: yes; inch: 2.5"}


def test_an_unknown_suffix_asks_for_the_format(tmp_path):
    (tmp_path / "pairs.txt").write_text("query,title,label\nq,t,relevant\n")
    with pytest.raises(TableError, match=r"data\.format"):
        TableSource(read_config("table", path=str(tmp_path / "pairs.txt")))
    TableSource(read_config("table", path=str(tmp_path / "pairs.txt"), format="csv"))


def test_hostile_cells_stay_text(tmp_path):
    cells = [
        "__import__('os').system('false')",
        "=cmd()",
        "${oc.env:HOME}",
        "{{ 7 * 7 }}",
        "'; DROP TABLE pairs; --",
        "a\0b",
        "<|im_end|>",
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"query": cell, "title": cell, "label": "relevant"}) + "\n" for cell in cells))
    assert {title for _, title, _, _ in everything(TableSource(read_config("table", path=str(path))))} == set(cells)


def test_no_torch():
    import subprocess

    code = "import sys, lore_lab.data.table, lore_lab.config.table, lore_lab.data.leaks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])

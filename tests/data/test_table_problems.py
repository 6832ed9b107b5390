"""Bad input: each kind is counted, named with its row, and obeys its policy; no row vanishes uncounted."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lore_lab.config.table import read_config
from lore_lab.data.table import TableError, TableSource, open_table
from lore_lab.data.table.problems import KINDS, policies

GOOD = "query,item_id,label\nred shoe,a,relevant\nblue hat,b,irrelevant\n"
PRODUCTS = '{"id": "a", "title": "shoe"}\n{"id": "b", "title": "hat"}\n{"id": "c", "description": "no title"}\n'


def config(folder: Path, pairs: str | bytes, products: str | bytes = PRODUCTS, **values):
    for name, text in (("pairs.csv", pairs), ("products.jsonl", products)):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    joined = {"pairs.item_id": "item_id", "products.file": "products.jsonl", "products.fields": {"title": ["title"]}}
    return read_config("table", **({"path": str(folder), "pairs.file": "pairs.csv"} | joined | values))


def total(source) -> int:
    return sum(source.size(split) for split in ("train", "validation", "wild"))


#: kind -> (pairs, products, what the message must say, extra settings)
BAD = {
    "encoding": (GOOD.encode() + b"caf\xe9,a,relevant\n", PRODUCTS, ["pairs.csv row 4, column 'query'", "utf-8", "caf"], {}),
    "malformed": (GOOD + "red hat,a\n", PRODUCTS, ["pairs.csv row 4", "2 cells, the header has 3"], {}),
    "long_line": (
        GOOD + f"{'x' * 5000},a,relevant\n",
        PRODUCTS,
        ["pairs.csv row 4", "5,012 characters"],
        {"problems.max_row": 1000},
    ),
    "unknown_label": (
        GOOD + "red hat,a,relevent\n",
        PRODUCTS,
        ["row 4, column 'label'", "'relevent'", "did you mean 'relevant'?"],
        {},
    ),
    "empty_text": (
        GOOD + " ,a,relevant\nred hat,c,relevant\n",
        PRODUCTS,
        ["row 4", "the query is empty", "row 5", "no text"],
        {},
    ),
    "unjoined": (GOOD + "red hat,z,relevant\n", PRODUCTS, ["row 4, column 'item_id'", "no product has the id 'z'"], {}),
    "duplicate_id": (GOOD, PRODUCTS + '{"id": "a", "title": "other"}\n', ["products.jsonl row 4, column 'id'", "'a'"], {}),
    "duplicate": (
        GOOD + "red shoe,a,relevant\n",
        PRODUCTS,
        ["row 4", "stands at pairs.csv row 2"],
        {"problems.duplicate": "error"},
    ),
    "contradictory": (GOOD + "red shoe,a,irrelevant\n", PRODUCTS, ["row 4", "row 2 with another label"], {}),
}


@pytest.mark.parametrize("kind", BAD)
def test_error_names_file_row_and_way_out(tmp_path, kind):
    pairs, products, said, values = BAD[kind]
    with pytest.raises(TableError) as caught:
        TableSource(config(tmp_path, pairs, products, **values)).size("train")
    for words in [*said, kind, f"data.problems.{kind}=drop"]:
        assert words in str(caught.value)


@pytest.mark.parametrize("kind", BAD)
def test_drop_counts_and_goes_on(tmp_path, kind):
    pairs, products, _, values = BAD[kind]
    source = TableSource(config(tmp_path, pairs, products, **(values | {f"problems.{kind}": "drop"})))
    assert total(source) == (1 if kind == "contradictory" else 2)
    table = source.report()["tables"]["products" if kind == "duplicate_id" else "pairs"]
    found = table["problems"][kind]
    assert found["dropped"] == found["count"] == (2 if kind in ("contradictory", "empty_text") else 1)
    assert len(found["examples"]) >= 1


@pytest.mark.parametrize("kind", ["encoding", "empty_text", "unjoined", "duplicate", "contradictory"])
def test_keep_counts_and_keeps(tmp_path, kind):
    pairs, products, _, values = BAD[kind]
    source = TableSource(config(tmp_path, pairs, products, **(values | {"problems.empty_text": "keep", f"problems.{kind}": "keep"})))
    rows = pairs.count(b"\n" if isinstance(pairs, bytes) else "\n") - 1
    assert total(source) == rows
    found = source.report()["tables"]["pairs"]["problems"][kind]
    assert found["count"] >= 1
    assert found["dropped"] == 0


def test_all_kinds_are_reported_in_one_error(tmp_path):
    with pytest.raises(TableError) as caught:
        TableSource(config(tmp_path, GOOD + "red hat,z,relevant\nred hat,a,maybe\n")).size("train")
    assert "unjoined: 1" in str(caught.value)
    assert "unknown_label: 1" in str(caught.value)


def test_examples_are_limited_and_the_rest_counted(tmp_path):
    with pytest.raises(TableError, match="and 7 more"):
        TableSource(config(tmp_path, GOOD + "".join(f"q{i},a,maybe\n" for i in range(10)), **{"problems.examples": 3})).size("train")


def test_missing_column_before_any_row_is_read(tmp_path):
    with pytest.raises(TableError, match=r"pairs.csv has no column 'query' \(data.pairs.query\); did you mean 'qurey'\?"):
        TableSource(config(tmp_path, GOOD.replace("query", "qurey")))
    with pytest.raises(TableError, match=r"no column 'titel' \(data.products.fields.title\); did you mean 'title'\?"):
        TableSource(config(tmp_path, GOOD, **{"products.fields": {"title": ["titel"]}}))
    values = {"products.fields": {"title": ["title"], "brand": ["maker"]}, "problems.missing_column": "keep"}
    source = TableSource(config(tmp_path, GOOD, **values))
    assert total(source) == 2
    assert source.report()["tables"]["products"]["problems"]["missing_column"]["count"] == 1


def test_missing_file_names_the_nearest(tmp_path):
    with pytest.raises(TableError, match=r"holds no 'pair.csv'; did you mean 'pairs.csv'\?"):
        TableSource(config(tmp_path, GOOD, **{"pairs.file": "pair.csv"}))
    with pytest.raises(TableError, match="does not exist"):
        TableSource(config(tmp_path, GOOD, path=str(tmp_path / "nowhere")))


def test_a_hundred_megabyte_line_costs_no_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "pairs.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("query,title,label\nred shoe,shoe,relevant\nx,")
        for _ in range(100):
            file.write("y" * 1_000_000)
        file.write(",relevant\nblue hat,hat,relevant\n")
    source = TableSource(read_config("table", path=str(path), **{"problems.long_line": "drop", "problems.max_row": 100_000}))
    tracemalloc.start()
    assert total(source) == 2
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert "row 3: 100,000,012 characters" in source.report()["tables"]["pairs"]["problems"]["long_line"]["examples"][0]


def test_an_open_quote_does_not_swallow_the_file(tmp_path):
    rows = "".join(f"query {i},a,relevant\n" for i in range(20_000))
    text = f'query,item_id,label\n"open,a,relevant\n{rows}'
    source = TableSource(config(tmp_path, text, **{"problems.malformed": "drop", "problems.max_row": 1000}))
    assert total(source) > 10_000
    assert source.report()["tables"]["pairs"]["problems"]["malformed"]["count"] >= 1


@pytest.mark.parametrize("line", ["[1, 2]", "{", '{"id": "d", "title": NaN}x', "[" * 100_000, "1" * 10_000])
def test_lines_that_are_no_json_object(tmp_path, line):
    with pytest.raises(TableError, match="products, malformed: 1"):
        TableSource(config(tmp_path, GOOD, PRODUCTS + line + "\n")).size("train")


def test_half_a_surrogate_pair_is_an_encoding_problem(tmp_path):
    with pytest.raises(TableError, match=r"products\.jsonl row 4, column 'title'"):
        TableSource(config(tmp_path, GOOD, PRODUCTS + '{"id": "d", "title": "a\\ud800b"}\n')).size("train")


def test_a_damaged_archive_is_an_error(tmp_path):
    whole = gzip.compress(GOOD.replace("item_id", "title").encode() * 500)
    (tmp_path / "pairs.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TableError, match="the compressed file is damaged"):
        TableSource(read_config("table", path=str(tmp_path / "pairs.csv.gz"))).size("train")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("pairs.csv", b"", "is empty"),
        ("pairs.csv", b"query,label,label\n", "'label' stands twice"),
        ("pairs.parquet", b"PAR1 no", "no readable Parquet"),
        ("pairs.csv", b"query,title,label\n", "no pair is left of 0 rows"),
        ("pairs.csv", "query,title,label\nq,t,relevant\n".encode("utf-16"), "is data.encoding right?"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError) as caught:
        TableSource(read_config("table", path=str(tmp_path / name))).size("train")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"encoding": "utf8x"}, "is no encoding"),
        ({"labels.relevant_from": "relevantt"}, "did you mean 'relevant'"),
        ({"labels.mapping": {"1": "releva"}}, "data.labels.mapping.1='releva'"),
        ({"labels.cuts": [1.0, 2.0]}, "must be 1 ascending numbers"),
        ({"labels.grades": ["one"]}, "2 to 5"),
        ({"split.validation": 0.5, "split.wild": 0.5}, "nothing to train on"),
        ({"pairs.split": "label"}, "data.split.values"),
        ({"split.values": {"a": "tset"}}, "is no split"),
        ({"raters.policy": "median"}, "needs data.raters.columns"),
        ({"pairs.item_id": None}, "needs data.pairs.item_id"),
        ({"pairs.label": None}, "needs data.pairs.label"),
    ],
)
def test_settings_that_cannot_be(tmp_path, values, said):
    with pytest.raises(TableError) as caught:
        open_table(config(tmp_path, GOOD, **values))
    assert said in str(caught.value)


def test_every_kind_has_a_policy():
    assert all("error" in policies(kind) for kind in KINDS)


CELLS = {
    "query": st.sampled_from(["red shoe", "Red  shoe", "blue hat", "", "caf\ufffd"]),
    "item_id": st.sampled_from(["a", "b", "c", "z", ""]),
    "label": st.sampled_from(["relevant", "irrelevant", "maybe", "", "1"]),
    "kind": st.sampled_from(["x", "y"]),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=30), data=st.data())
def test_every_row_is_accounted_for(tmp_path, rows, data):
    chosen = {kind: data.draw(st.sampled_from([p for p in policies(kind) if p != "error"]), kind) for kind in KINDS}
    lines = [",".join(CELLS), *(",".join(row.values()) for row in rows), "only,two"]
    values = {f"problems.{kind}": policy for kind, policy in chosen.items()} | {"pairs.where": {"kind": ["x"]}}
    source = TableSource(config(tmp_path, "\n".join(lines), **values))
    try:
        kept = total(source)
    except TableError as error:
        if "no pair is left" not in str(error):
            raise
        return
    table = source.report()["tables"]["pairs"]
    assert table["rows"] == len(rows) + 1
    assert table["rows"] == kept + table["filtered"] + sum(problem["dropped"] for problem in table["problems"].values())
    assert json.dumps(source.report())

"""Splits, order and size of a table; the leak check."""

from dataclasses import replace

import pytest

from lore_lab.config.table import read_config
from lore_lab.data.leaks import LeakError, check_leaks, normalise_query
from lore_lab.data.table import TableSource
from lore_lab.data.table.problems import TableError


@pytest.fixture
def pairs_csv(tmp_path):
    rows = [f"query {i // 5},item {i % 5},{'relevant' if i % 2 else 'irrelevant'}\n" for i in range(1000)]
    (tmp_path / "pairs.csv").write_text("query,title,label\n" + "".join(rows))
    return str(tmp_path / "pairs.csv")


def ids(source, split="train", start=0, stop=None):
    return [(e.query, e.item["title"]) for e in source.examples(split, start, stop)]


def test_same_arguments_same_examples(pairs_csv):
    first, second = (list(TableSource(read_config("table", path=pairs_csv)).examples("train")) for _ in range(2))
    assert first == second or [replace(e, difficulty=0) for e in first] == [replace(e, difficulty=0) for e in second]


def test_a_range_is_a_slice(pairs_csv):
    source = TableSource(read_config("table", path=pairs_csv))
    whole = ids(source)
    assert ids(source, start=7, stop=19) == whole[7:19]
    assert ids(source, stop=10**9) == whole
    assert len(whole) == source.size("train")
    assert [e.id for e in source.examples("train", 3, 5)] == ["train-3", "train-4"]
    assert ids(source, "visual") == []
    assert source.size("visual") == 0


def test_a_smaller_size_is_a_subset_of_a_larger_one(pairs_csv):
    small, large, other = (
        TableSource(read_config("table", path=pairs_csv, size=size, seed=seed)) for size, seed in ((50, 0), (200, 0), (50, 1))
    )
    assert ids(small) == ids(large)[:50]
    assert set(ids(other)) != set(ids(small))
    # a sample of pairs over all queries, not the head of the file
    assert len({query for query, _ in ids(small)}) > 30
    assert ids(small, "wild") == ids(large, "wild")


def test_shares_and_leaks(pairs_csv):
    source = TableSource(read_config("table", path=pairs_csv, **{"split.validation": 0.2, "split.wild": 0.3}))
    assert source.size("train") + source.size("validation") + source.size("wild") == 1000
    assert 130 < source.size("validation") < 270
    assert 220 < source.size("wild") < 380
    counts = check_leaks(source)
    assert sum(counts.values()) == 200


def test_test_splits_come_query_by_query(pairs_csv):
    queries = [query for query, _ in ids(TableSource(read_config("table", path=pairs_csv)), "wild")]
    assert queries == [query for query in dict.fromkeys(queries) for _ in range(5)]


def test_validation_does_not_move_wild(pairs_csv):
    wild = [set(ids(TableSource(read_config("table", path=pairs_csv, **{"split.validation": share})), "wild")) for share in (0.0, 0.1, 0.4)]
    assert wild[0] == wild[1] == wild[2]


def test_spelling_variants_share_a_split(tmp_path):
    rows = "".join(f"Query {i},a,relevant\nquery  {i},b,relevant\nＱＵＥＲＹ {i},c,relevant\n" for i in range(100))
    (tmp_path / "pairs.csv").write_text("query,title,label\n" + rows)
    source = TableSource(read_config("table", path=str(tmp_path / "pairs.csv")))
    check_leaks(source)
    assert source.size("wild") % 3 == 0
    assert normalise_query("ＱＵＥＲＹ  7 ") == "query 7"


def test_a_leak_is_loud(pairs_csv):
    source = TableSource(read_config("table", path=pairs_csv))

    class Leaking:
        name, grades, relevant_from = "leaking", source.grades, 1

        def size(self, split):
            return 10 if split in ("train", "wild") else 0

        def examples(self, split, start=0, stop=None):
            yield from source.examples("train", start, 10)

    with pytest.raises(LeakError, match=r"leaking: \d+ queries of wild were trained on:\n  train: 'query"):
        check_leaks(Leaking())


def test_an_endless_split_needs_a_limit():
    class Endless:
        name = "endless"

        def size(self, split):
            return None

    with pytest.raises(ValueError, match="needs a limit"):
        check_leaks(Endless())


def test_a_guide_shows_training_pairs_of_every_grade_whatever_the_size(pairs_csv):
    whole = TableSource(read_config("table", path=pairs_csv))
    worked = whole.guide.worked
    assert [example.gold for example in worked] == [0, 1] * 32
    assert {example.id for example in worked} <= {example.id for example in whole.examples("train")}
    small = TableSource(read_config("table", path=pairs_csv, size=2)).guide.worked
    assert [(e.id, e.query, e.item["title"]) for e in small] == [(e.id, e.query, e.item["title"]) for e in worked]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"guide.definitions": {"relevent": "x"}}, r"data.guide.definitions.relevent: .* did you mean 'relevant'\?"),
        ({"guide.definitions": {"relevant": "x"}}, "data.guide.definitions has no irrelevant: define every grade"),
        ({"guide.rules": {"brand": "x"}, "guide.core": ["brands"]}, r"data.guide.core: 'brands' is no rule .* did you mean 'brand'\?"),
    ],
)
def test_a_guide_that_does_not_fit_the_labels_is_an_error(pairs_csv, values, said):
    with pytest.raises(TableError, match=said):
        TableSource(read_config("table", path=pairs_csv, **values))


def test_a_guide_of_a_table_is_what_its_config_says(pairs_csv):
    values = {"guide.definitions": {"relevant": "Yes.", "irrelevant": "No."}, "guide.rules": {"b": "B.", "a": "A."}, "guide.core": ["a"]}
    guide = TableSource(read_config("table", path=pairs_csv, **values)).guide
    assert guide.definitions == ("No.", "Yes.")
    assert list(guide.rules.items()) == [("b", "B."), ("a", "A.")]
    assert guide.core == ("a",)

"""Pairs made from a catalogue: deterministic, labelled by agreement, no query in two splits."""

import json
from itertools import islice
from pathlib import Path

import pytest

from lore_lab.config.table import read_config
from lore_lab.data.leaks import check_leaks
from lore_lab.data.table import CatalogueSource, TableError, open_table
from lore_lab.data.table.catalogue import agreement_grade

CHORUS = Path(__file__).parents[3] / "shared" / "data" / "chorus" / "products.jsonl.gz"
COLOURS, BRANDS = ("red", "blue", "green", "black"), ("Acme", "Birch", "Corvo")


@pytest.fixture
def catalogue(tmp_path):
    path = tmp_path / "products.jsonl"
    rows = [
        {
            "id": i,
            "title": f"thing {i}",
            "supplier": BRANDS[i % 3],
            "attr_t_colour": COLOURS[i % 4],
            "attr_n_width": float(i % 7),
            "attr_b_washable": i % 2 == 0,
            "short_description": "text",
        }
        for i in range(120)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**values):
        return open_table(read_config("catalogue", path=str(path), **values))

    return make


def test_deterministic_by_seed_and_index(catalogue):
    source = catalogue()
    assert isinstance(source, CatalogueSource)
    assert source.size("train") == 20_000
    assert source.size("wild") is None
    shown = [(e.query, e.item_id, e.label) for e in source.examples("train", 0, 60)]
    assert shown == [(e.query, e.item_id, e.label) for e in catalogue().examples("train", 0, 60)]
    assert shown[13:40] == [(e.query, e.item_id, e.label) for e in source.examples("train", 13, 40)]
    assert shown != [(e.query, e.item_id, e.label) for e in catalogue(seed=1).examples("train", 0, 60)]


def test_labels_are_the_agreement_of_attributes(catalogue):
    source, labels = catalogue(), set()
    for example in source.examples("train", 0, 300):
        facts = example.facts
        met = [match.verdict == "match" for match in facts.matches]
        assert example.label == example.gold == agreement_grade(sum(met) / len(met), 4)
        assert all(need.surface in example.query for need in facts.needs)
        assert all(match.found in example.item[match.evidence] for match in facts.matches if match.verdict == "match")
        labels.add(example.label)
    assert labels == {0, 1, 2, 3}


def test_the_first_item_meets_every_need_and_no_item_comes_twice(catalogue):
    examples = list(catalogue().examples("train", 0, 60))
    for query in range(10):
        group = examples[query * 6 : query * 6 + 6]
        assert len({e.query for e in group}) == 1
        assert group[0].label == 3
        assert len({e.item_id for e in group}) == 6


def test_no_query_in_two_splits(catalogue):
    assert check_leaks(catalogue(), limit=300)["wild"] > 1


@pytest.mark.parametrize(
    ("agreement", "grades", "expected"), [(0, 4, 0), (1, 4, 3), (1 / 3, 4, 1), (2 / 3, 4, 2), (0.5, 2, 0), (1, 2, 1), (0.9, 3, 1)]
)
def test_agreement_grade(agreement, grades, expected):
    assert agreement_grade(agreement, grades) == expected


def test_texts_start_over(catalogue):
    texts = list(islice(catalogue().texts(200), 200))
    assert len(texts) == 200
    assert texts[0] == texts[120]
    assert "colour: red" in texts[0]


def test_report_and_a_catalogue_without_attributes(catalogue, tmp_path):
    assert catalogue().report()["catalogue"] == {"products": 120, "traits": 480, "dimensions": 4}
    with pytest.raises(TableError, match="none of the fields"):
        catalogue(**{"catalogue.dimensions": ["caption"]})


@pytest.mark.skipif(not CHORUS.exists(), reason=f"the chorus products are not at {CHORUS}")
def test_the_chorus_products_make_pairs():
    source = open_table(read_config("catalogue", path=str(CHORUS)))
    examples = list(source.examples("train", 0, 300))
    assert source.report()["catalogue"]["products"] > 19_000
    assert {example.label for example in examples} == {0, 1, 2, 3}
    assert all(example.item["title"] and example.query for example in examples)
    assert all(need.surface in example.query for example in examples for need in example.facts.needs)
    check_leaks(source, limit=300)

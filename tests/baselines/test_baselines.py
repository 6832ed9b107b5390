"""Baselines learn what they can, repeat themselves exactly, and reach the known figures on chorus."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from lore_lab.baselines import BASELINES, bm25
from lore_lab.baselines.report import measure, rankings
from lore_lab.config.table import read_config
from lore_lab.data.example import Example
from lore_lab.data.table import TableSource

CHORUS = Path(__file__).parents[2].parent / "shared" / "data" / "chorus"
WORDS = [f"word{i}" for i in range(60)]


def examples(count: int, seed: int) -> list[Example]:
    """The grade is how many of the query's three words the item has."""
    rng, made = random.Random(seed), []
    for i in range(count):
        query, label = rng.sample(WORDS, 3), rng.randrange(4)
        title = query[:label] + rng.sample([word for word in WORDS if word not in query], 6 - label)
        made.append(Example(f"t-{i}", f"q{i // 4}", f"i{i}", " ".join(query), {"title": " ".join(title)}, label, label, math.nan))
    return made


@pytest.mark.parametrize("name", BASELINES)
def test_shapes_determinism_and_blank_text(name):
    train, test = examples(120, 0), examples(20, 1)
    test.append(Example("t", "q", "i", "???", {}, 0, 0, math.nan))
    first, second = (BASELINES[name](train, ["title"], 4).predict(test) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    grades, scores = first
    assert grades.shape == scores.shape == (21,)
    assert set(grades) <= {0, 1, 2, 3}
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", BASELINES)
def test_edges(name):
    with pytest.raises(ValueError, match="needs examples"):
        BASELINES[name]([], ["title"], 4)
    one = BASELINES[name](examples(1, 0), ["title"], 4)
    assert one.predict([])[0].shape == (0,)
    assert BASELINES[name](examples(8, 0), ["caption"], 4).predict(examples(5, 1))[0].shape == (5,)


def test_words_in_common_are_learned():
    train, test = examples(600, 0), examples(200, 1)
    gold = np.array([example.gold for example in test])
    for name in ("tfidf", "bm25"):
        judge = BASELINES[name](train, ["title"], 4)
        grades, scores = judge.predict(test)
        assert bm25.macro_f1(gold, grades, 4) > 0.6, name
        assert np.corrcoef(scores, gold)[0, 1] > 0.8, name
    assert bm25.macro_f1(gold, BASELINES["majority"](train, ["title"], 4).predict(test)[0], 4) < 0.2


def test_hidden_fields_are_not_read():
    train = examples(100, 0)
    spoiled = [Example(e.id, e.query_id, e.item_id, e.query, {**e.item, "shop": str(e.label)}, e.label, e.gold, math.nan) for e in train]
    for fit in BASELINES.values():
        seen, hidden = fit(train, ["title"], 4).predict(train), fit(spoiled, ["title"], 4).predict(spoiled)
        assert np.array_equal(seen[0], hidden[0])


def test_macro_f1_is_sklearns():
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(0)
    gold, predicted = generator.integers(0, 4, 50), generator.integers(0, 3, 50)
    assert bm25.macro_f1(gold, predicted, 4) == pytest.approx(f1_score(gold, predicted, average="macro"))


def test_search_finds_the_item():
    run = bm25.search({"q": "red shoe"}, {"a": "blue hat", "b": "a red shoe", "c": "red hat"}, k=2)
    assert run["item_id"].tolist() == ["b", "c"]


@pytest.mark.skipif(not CHORUS.exists(), reason=f"the chorus files are not at {CHORUS}")
def test_chorus_reaches_the_known_figures():
    source = TableSource(read_config("chorus", path=str(CHORUS)))
    found = rankings(source, ["title", "description"])
    assert found["re-ranked"] == pytest.approx(0.821, abs=0.015)
    assert found["all items"] == pytest.approx(0.706, abs=0.015)
    assert found["random order"] == pytest.approx(0.588, abs=0.01)
    table = measure(source, ["title", "description"], splits=("wild",))
    assert table.loc[("wild", "bm25"), "queries"] == 25
    assert table.loc[("wild", "bm25"), "ndcg@10"] > table.loc[("wild", "random"), "ndcg@10"] + 0.1
    assert table.loc[("wild", "majority"), "ndcg@10"] == pytest.approx(table.loc[("wild", "random"), "ndcg@10"], abs=0.01), "all tied"
    assert table.loc[("wild", "tfidf"), "macro_f1"] > table.loc[("wild", "majority"), "macro_f1"] + 0.1

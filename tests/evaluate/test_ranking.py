"""Ranking metrics against independent numpy arithmetic."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_lab.evaluate.ranking import by_query, expected_grade, of_predictions, random_ndcg, summary


def tables(grades: list[list[int]], scores: list[list[float]]):
    rows = [(f"q{q}", f"d{i}", grade, scores[q][i]) for q, row in enumerate(grades) for i, grade in enumerate(row)]
    frame = pd.DataFrame(rows, columns=["query_id", "item_id", "grade", "score"])
    return frame[["query_id", "item_id", "grade"]], frame[["query_id", "item_id", "score"]]


def dcg(grades: np.ndarray, k: int) -> float:
    top = np.asarray(grades, dtype=float)[:k]
    return float(np.sum((2.0**top - 1) / np.log2(np.arange(2, len(top) + 2))))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=14), min_size=1, max_size=4), st.integers(1, 12), st.randoms())
def test_against_numpy(grades, k, rng):
    scores = [rng.sample(range(1000), len(row)) for row in grades]
    table = by_query(*tables(grades, scores), relevant_from=2, k=k)
    answerable = [q for q, row in enumerate(grades) if max(row) > 0]
    assert list(table.index) == sorted(f"q{q}" for q in answerable)
    for q in answerable:
        row = np.array(grades[q])
        ranked = row[np.argsort(-np.array(scores[q]))]
        measured = table.loc[f"q{q}"]
        assert measured[f"ndcg@{k}"] == pytest.approx(dcg(ranked, k) / dcg(np.sort(row)[::-1], k))
        assert measured[f"judged@{k}"] == pytest.approx(min(k, len(row)) / min(k, len(row)))
        if (row >= 2).any():
            assert measured["mrr"] == pytest.approx(1 / (1 + np.flatnonzero(ranked >= 2)[0]))
            assert measured[f"recall@{k}"] == pytest.approx((ranked[:k] >= 2).sum() / (row >= 2).sum())
        else:
            assert np.isnan(measured["mrr"])


def test_a_hand_computed_list():
    qrels, run = tables([[3, 2, 0, 1]], [[0.1, 0.9, 0.8, 0.7]])
    table = by_query(qrels, run, relevant_from=3, k=3)
    ideal = 7 + 3 / np.log2(3) + 1 / 2
    assert table.loc["q0", "ndcg@3"] == pytest.approx((3 + 0 + 1 / 2) / ideal)
    assert table.loc["q0", "mrr"] == pytest.approx(1 / 4)
    assert table.loc["q0", "recall@3"] == 0


def test_unjudged_and_missing_results():
    qrels = pd.DataFrame({"query_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "grade": [3, 0, 3]})
    run = pd.DataFrame({"query_id": ["a", "a"], "item_id": ["new", "x"], "score": [2.0, 1.0]})
    table = by_query(qrels, run, relevant_from=2, k=2)
    assert table.loc["a", "judged@2"] == 0.5
    assert table.loc["a", "mrr"] == 0.5
    assert table.loc["b"].tolist() == [0, 0, 0, 0]
    assert summary(table) == {
        "ndcg@2": pytest.approx(1 / np.log2(3) / 2),
        "mrr": 0.25,
        "recall@2": 0.5,
        "judged@2": 0.25,
        "queries": 2.0,
    }


def test_ties_know_nothing_of_labels():
    grades = [[3] * 5 + [0] * 5, [0] * 5 + [3] * 5] * 50
    flat = [[0.0] * 10] * 100
    qrels, run = tables(grades, flat)
    tied = by_query(qrels, run, 2, 5)["ndcg@5"].mean()
    assert tied == pytest.approx(random_ndcg(qrels, 2, 5, orders=5), abs=0.06)
    shuffled = run.sample(frac=1, random_state=0)
    assert by_query(qrels, shuffled, 2, 5)["ndcg@5"].mean() == tied


def test_tied_scores_are_worth_their_mean_over_orders():
    """Two tied items, one of them right: half of the orders put it first."""
    table = by_query(*tables([[3, 0]] * 400, [[1.0, 1.0]] * 400), relevant_from=2)
    assert table["ndcg@10"].mean() == pytest.approx((1 + 1 / np.log2(3)) / 2, abs=0.01)
    assert table["mrr"].mean() == pytest.approx(0.75, abs=0.02)
    assert table["mrr"].std() < 0.1, "each query is a mean, not a lot"


def test_a_pair_twice_is_refused():
    qrels, run = tables([[1, 0]], [[1.0, 0.0]])
    with pytest.raises(ValueError, match="run holds"):
        by_query(qrels, pd.concat([run, run]), 1)


def test_expected_grade():
    assert expected_grade(np.array([[0.5, 0, 0, 0.5], [0, 1, 0, 0]])).tolist() == [1.5, 1.0]
    with pytest.raises(ValueError, match="summing to 1"):
        expected_grade(np.array([[0.5, 0.1]]))


def test_predictions_are_ranked_query_by_query_within_their_subset():
    columns = ["subset", "query_id", "item_id", "gold", "score"]
    rows = [
        ("wild", "a", "x", 3, 0.9), ("wild", "a", "y", 0, 1.5),  # the wrong one first
        ("hard", "a", "x", 3, 1.0), ("hard", "a", "y", 0, 0.0),  # the same query in another subset
        ("wild", "b", "x", 3, 1.0),  # one item: nothing to rank
        ("wild", "c", "x", 0, 1.0), ("wild", "c", "y", 0, 0.5),  # nothing to find
        ("hard", "a", "y", 0, 9.0),  # kept twice by the table: the first row counts
    ]  # fmt: skip
    table = of_predictions(pd.DataFrame(rows, columns=columns), relevant_from=2)
    assert table["ndcg@10"].to_dict() == {"hard/a": 1.0, "wild/a": pytest.approx(1 / np.log2(3))}
    assert table["mrr"].to_dict() == {"hard/a": 1.0, "wild/a": 0.5}
    assert not len(of_predictions(pd.DataFrame(rows[4:5], columns=columns), relevant_from=2))

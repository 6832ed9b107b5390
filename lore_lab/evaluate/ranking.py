"""Rankings of items by query: nDCG, MRR, recall and judged@k through ir-measures. Pure functions over frames and arrays.

`qrels` has columns query_id, item_id, grade (0 = least relevant); `run` has query_id, item_id, score (higher is better).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import ir_measures
import numpy as np
import pandas as pd
from ir_measures import RR, Judged, Measure, R, nDCG

from lore_lab.data.example import Example

_TIE_ORDERS = 20


def expected_grade(probabilities: np.ndarray) -> np.ndarray:
    """(n,) mean grade of label probabilities (n, grades), in [0, grades - 1]: a score to rank by."""
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.ndim != 2 or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ValueError("expected_grade needs (n, grades) probabilities, each row summing to 1")
    return probabilities @ np.arange(probabilities.shape[1])


def frames(examples: Iterable[Example], scores: Iterable[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(qrels, run) of examples scored in the same order: the re-ranking of what was rated."""
    rows = [(example.query_id, example.item_id, example.gold, float(score)) for example, score in zip(examples, scores, strict=True)]
    table = pd.DataFrame(rows, columns=["query_id", "item_id", "grade", "score"])
    return table[["query_id", "item_id", "grade"]], table[["query_id", "item_id", "score"]]


def by_query(qrels: pd.DataFrame, run: pd.DataFrame, relevant_from: int, k: int = 10) -> pd.DataFrame:
    """One row a query that has an item of positive grade: columns ndcg@k, mrr, recall@k, judged@k.

    nDCG has gain 2^grade - 1 and discount log2(rank + 1); the ideal ranks every rated item of the query. An item is relevant to
    MRR and recall from grade `relevant_from`; without such an item they are nan. judged@k is the share of the k best that have a
    grade. A query without a result scores 0. Where scores tie, the values are means over `_TIE_ORDERS` orders drawn by hashes of the
    pair, which know nothing of the label: one order alone would be a draw of lots. Raises ValueError where a pair stands twice.
    """
    for name, frame in (("qrels", qrels), ("run", run)):
        if frame.duplicated(["query_id", "item_id"]).any():
            raise ValueError(f"{name} holds a (query, item) pair twice")
    gains = qrels.assign(relevance=2 ** qrels["grade"].astype(int) - 1)
    answerable = gains.loc[gains["relevance"] > 0, "query_id"].unique()
    threshold = 2**relevant_from - 1
    names: dict[Measure, str] = {
        nDCG @ k: f"ndcg@{k}",
        RR(rel=threshold): "mrr",
        R(rel=threshold) @ k: f"recall@{k}",
        Judged @ k: f"judged@{k}",
    }
    asked, orders = (
        _renamed(gains[gains["query_id"].isin(answerable)]),
        range(_TIE_ORDERS if run.duplicated(["query_id", "score"]).any() else 1),
    )
    values = (value for order in orders for value in ir_measures.iter_calc(list(names), asked, _renamed(_without_ties(run, order))))
    rows = [(value.query_id, names[value.measure], value.value) for value in values]
    long = pd.DataFrame(rows, columns=["query_id", "measure", "value"])
    table = long.pivot_table(index="query_id", columns="measure", values="value").reindex(sorted(answerable))
    table = table.reindex(columns=list(names.values())).fillna(0.0)
    findable = gains.loc[gains["grade"] >= relevant_from, "query_id"].unique()
    table.loc[~table.index.isin(findable), ["mrr", f"recall@{k}"]] = np.nan
    return table.rename_axis("query_id").rename_axis(columns=None)


def of_predictions(rows: pd.DataFrame, relevant_from: int, k: int = 10) -> pd.DataFrame:
    """`by_query` of judged pairs (columns subset, query_id, item_id, gold, score): each query's own items are re-ranked by score.

    Only queries with several items count, the others have nothing to rank; a query in two subsets is two rankings. Where a table
    keeps a pair several times, its first row is the one that counts.
    """
    rows = rows.assign(query_id=rows["subset"] + "/" + rows["query_id"]).drop_duplicates(["query_id", "item_id"])
    rows = rows[rows.groupby("query_id")["item_id"].transform("size") > 1].rename(columns={"gold": "grade"})
    if not len(rows):
        return pd.DataFrame()
    return by_query(rows[["query_id", "item_id", "grade"]], rows[["query_id", "item_id", "score"]], relevant_from, k)


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Means over the queries of `by_query`, and how many there are."""
    means = {str(name): float(value) for name, value in table.mean().items()}
    return means | {"queries": float(len(table))}


def random_ndcg(qrels: pd.DataFrame, relevant_from: int, k: int = 10, orders: int = 20, seed: int = 0) -> float:
    """Mean nDCG@k of random orders of the rated items: what a ranking has to beat."""
    generator = np.random.default_rng(seed)
    pairs = qrels[["query_id", "item_id"]]
    draws = (by_query(qrels, pairs.assign(score=generator.random(len(pairs))), relevant_from, k) for _ in range(orders))
    return float(np.mean([table[f"ndcg@{k}"].mean() for table in draws]))


def _without_ties(run: pd.DataFrame, order: int) -> pd.DataFrame:
    """The run with scores replaced by falling ranks, so that no library's own rule for ties decides. order: another one, other lots."""
    pairs = zip(run["query_id"], run["item_id"], strict=True)
    keys = [hashlib.blake2b(f"{order}\x1f{query}\x1f{item}".encode(), digest_size=8).digest() for query, item in pairs]
    ordered = run.assign(key=keys).sort_values(["score", "key"], ascending=[False, True])
    return ordered.assign(score=-np.arange(len(ordered), dtype=float))


def _renamed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"query_id": str, "item_id": str}).rename(columns={"item_id": "doc_id"})

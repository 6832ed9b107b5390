"""Every baseline on a source: fitted on train, measured on the test splits; and what BM25 does as a search engine."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from lore_lab.baselines import BASELINES, bm25
from lore_lab.data.example import Example, Source, Split
from lore_lab.data.table import TableSource
from lore_lab.evaluate.ranking import by_query, frames, random_ndcg, summary


def measure(
    source: Source,
    visible_fields: Sequence[str],
    splits: Sequence[Split] = ("validation", "wild"),
    train: int | None = None,
    test: int | None = None,
    k: int = 10,
) -> pd.DataFrame:
    """One row a split and baseline: accuracy, macro_f1, and the means of evaluate.ranking.by_query where a query has an answer.

    train, test: pairs read of train and of each test split (needed where a split has no end). `random` is a shuffled ranking.
    """
    fitted = list(source.examples("train", 0, train))
    judges = {name: fit(fitted, visible_fields, len(source.grades)) for name, fit in BASELINES.items()}
    rows = []
    for split in splits:
        examples = list(source.examples(split, 0, test))
        if not examples:
            continue
        gold = [example.gold for example in examples]
        for name, judge in judges.items():
            grades, scores = judge.predict(examples)
            accuracy, macro = accuracy_score(gold, grades), f1_score(gold, grades, average="macro", zero_division=0)
            row = {"split": split, "baseline": name, "pairs": len(examples), "accuracy": accuracy, "macro_f1": macro}
            rows.append(row | summary(by_query(*frames(examples, scores), source.relevant_from, k)))
        qrels, _ = frames(examples, [0.0] * len(examples))
        rows.append(
            {
                "split": split,
                "baseline": "random",
                "pairs": len(examples),
                f"ndcg@{k}": random_ndcg(qrels, source.relevant_from, k),
            }
        )
    return pd.DataFrame(rows).set_index(["split", "baseline"])


def rankings(source: TableSource, fields: Sequence[str], k: int = 10) -> pd.Series:
    """Mean nDCG@k over every rated query: BM25 re-ranking the rated items, BM25 over all items, rated items in random order."""
    splits: tuple[Split, ...] = ("train", "validation", "wild")
    rated: list[Example] = [example for split in splits for example in source.examples(split)]
    items = {item_id: "\n".join(item[name] for name in fields if name in item) for item_id, item in source.items()}
    qrels, run = frames(rated, bm25.pair_scores(rated, fields))
    found = bm25.search({example.query_id: example.query for example in rated}, items, k)
    tables = {"re-ranked": by_query(qrels, run, source.relevant_from, k), "all items": by_query(qrels, found, source.relevant_from, k)}
    means = {name: float(table[f"ndcg@{k}"].mean()) for name, table in tables.items()}
    return pd.Series(means | {"random order": random_ndcg(qrels, source.relevant_from, k)}, name=f"ndcg@{k}")

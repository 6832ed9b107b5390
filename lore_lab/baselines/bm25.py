"""BM25 with thresholds: the words of the query in the item, cut into grades where macro-F1 on the training pairs is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
import pandas as pd

from lore_lab.baselines.base import item_text, words
from lore_lab.data.example import Example

#: candidate thresholds: quantiles of the training scores
_CANDIDATES = 40


@dataclass(frozen=True)
class Bm25Thresholds:
    """BM25 scores against thresholds, ascending, one fewer than grades."""

    corpus: tuple[str, ...]  #: item texts seen in fitting: word frequencies come from them and the items predicted on
    thresholds: tuple[float, ...]
    visible_fields: tuple[str, ...]

    def predict(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        scores = pair_scores(examples, self.visible_fields, self.corpus)
        return np.searchsorted(self.thresholds, relative(examples, scores), side="right"), scores


def fit(examples: Sequence[Example], visible_fields: Sequence[str], grades: int) -> Bm25Thresholds:
    """Raises ValueError without examples."""
    if not examples:
        raise ValueError("a baseline needs examples to fit")
    scores = relative(examples, pair_scores(examples, visible_fields))
    labels = np.array([example.label for example in examples])
    corpus = tuple(dict.fromkeys(item_text(example, visible_fields) for example in examples))
    return Bm25Thresholds(corpus, best_thresholds(scores, labels, grades), tuple(visible_fields))


def pair_scores(examples: Sequence[Example], visible_fields: Sequence[str], corpus: Sequence[str] = ()) -> np.ndarray:
    """(n,) BM25 of each item for its query; word frequencies over `corpus` and the examples' own items."""
    texts = [item_text(example, visible_fields) for example in examples]
    place = {text: i for i, text in enumerate(dict.fromkeys([*texts, *corpus]))}
    scores = np.zeros(len(examples))
    if not any(words(text) for text in place):
        return scores
    retriever = _index(list(place))
    rows: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        rows.setdefault(example.query, []).append(i)
    for query, members in rows.items():
        scores[members] = _scores(retriever, query)[[place[texts[i]] for i in members]]
    return scores


def search(queries: dict[str, str], items: dict[str, str], k: int = 10) -> pd.DataFrame:
    """The run (query_id, item_id, score) of the `k` best of `items` (id -> text) for each of `queries` (id -> text)."""
    retriever, ids = _index(list(items.values())), np.array(list(items))
    runs = []
    for query_id, query in queries.items():
        scores = _scores(retriever, query)
        best = np.argsort(-scores, kind="stable")[:k]
        runs.append(pd.DataFrame({"query_id": query_id, "item_id": ids[best], "score": scores[best]}))
    return pd.concat(runs, ignore_index=True)


def relative(examples: Sequence[Example], scores: np.ndarray) -> np.ndarray:
    """Scores over the number of query words: a long query's BM25 is a sum of more terms, a threshold must not care."""
    return scores / np.maximum(1, [len(set(words(example.query))) for example in examples])


def best_thresholds(scores: np.ndarray, labels: np.ndarray, grades: int, sweeps: int = 3) -> tuple[float, ...]:
    """Ascending thresholds found by moving one at a time over quantiles of the scores while macro-F1 grows."""
    candidates = np.unique(np.quantile(scores, np.linspace(0, 1, _CANDIDATES)))
    chosen = [float(value) for value in np.quantile(candidates, np.linspace(0, 1, grades + 1)[1:-1])]
    for _ in range(sweeps):
        for i in range(grades - 1):
            options = [sorted([*chosen[:i], float(value), *chosen[i + 1 :]]) for value in candidates]
            quality = [macro_f1(labels, np.searchsorted(option, scores, side="right"), grades) for option in options]
            chosen = options[int(np.argmax(quality))]
    return tuple(chosen)


def macro_f1(labels: np.ndarray, predicted: np.ndarray, grades: int) -> float:
    """Mean F1 over the grades that occur in the labels or the predictions."""
    confusion = np.bincount(labels * grades + predicted, minlength=grades * grades).reshape(grades, grades)
    support, hits = confusion.sum(axis=1) + confusion.sum(axis=0), 2 * np.diag(confusion)
    return float(np.mean(hits[support > 0] / support[support > 0]))


def _index(texts: list[str]) -> bm25s.BM25:
    retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    retriever.index([words(text) for text in texts], show_progress=False)
    return retriever


def _scores(retriever: bm25s.BM25, query: str) -> np.ndarray:
    """(items,) scores; a query without a known word scores 0 everywhere."""
    known = [word for word in words(query) if word in retriever.vocab_dict]
    return retriever.get_scores(known) if known else np.zeros(retriever.scores["num_docs"])

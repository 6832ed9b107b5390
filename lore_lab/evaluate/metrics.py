"""Metrics of a relevance judge: pure functions over arrays of grade indices. An invalid prediction is -1 and never right.

acc@4 is raw accuracy over the grades, acc@2 over relevant/irrelevant (LORE 2512.03025, RAIR 2512.24943). The names keep the papers' "4"
also for sources with another number of grades.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb

import numpy as np
import pandas as pd

INVALID = -1


def confusion(gold: np.ndarray, predicted: np.ndarray, grades: int) -> np.ndarray:
    """Counts (grades, grades + 1): rows gold, columns predicted, the last column invalid."""
    column = np.where(predicted == INVALID, grades, predicted)
    return np.bincount(gold * (grades + 1) + column, minlength=grades * (grades + 1)).reshape(grades, grades + 1)


def from_confusion(table: np.ndarray, relevant_from: int) -> dict[str, np.ndarray]:
    """Metrics of confusion tables of shape (..., grades, grades + 1); each value has shape (...).

    macro_f1 averages over the grades that occur in gold; a class never predicted has precision 0.
    """
    grades = table.shape[-2]
    square = table[..., :grades].astype(float)
    total = table.sum(axis=(-1, -2)).astype(float)
    hits = np.diagonal(square, axis1=-2, axis2=-1)
    gold = table.sum(axis=-1).astype(float)
    predicted = square.sum(axis=-2)
    precision = _ratio(hits, predicted)
    recall = _ratio(hits, gold)
    f1 = _ratio(2 * hits, gold + predicted)
    occurs = gold > 0
    relevant = np.arange(grades) >= relevant_from
    same_side = relevant[:, None] == relevant[None, :]
    errors = square.sum(axis=(-1, -2)) - hits.sum(axis=-1)
    optimistic = np.triu(square, k=1).sum(axis=(-1, -2))
    metrics = {
        "acc@4": _ratio(hits.sum(axis=-1), total),
        "acc@2": _ratio((square * same_side).sum(axis=(-1, -2)), total),
        "macro_f1": _ratio((f1 * occurs).sum(axis=-1), occurs.sum(axis=-1)),
        "weighted_f1": _ratio((f1 * gold).sum(axis=-1), total),
        "invalid_rate": _ratio(table[..., grades].sum(axis=-1), total),
        "optimistic_error_share": _ratio(optimistic, errors),
    }
    for grade in range(grades):
        metrics[f"precision/{grade + 1}"] = precision[..., grade]
        metrics[f"recall/{grade + 1}"] = recall[..., grade]
        metrics[f"f1/{grade + 1}"] = f1[..., grade]
    return metrics


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def pass_at_k(correct: np.ndarray, samples: int, k: int) -> np.ndarray:
    """Unbiased chance that k of `samples` completions hold a right one, given `correct` right ones (Chen et al. 2107.03374, eq. 1)."""
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {samples}")
    table = np.array([1.0 - comb(samples - right, k) / comb(samples, k) for right in range(samples + 1)])
    result: np.ndarray = table[correct]
    return result


def interval(table: np.ndarray, relevant_from: int, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap over pairs, for every metric of `from_confusion`.

    Resampling n pairs with replacement is one multinomial draw of the confusion table, so all resamples are computed at once.
    It covers the choice of test pairs only; the spread over training seeds is another matter.
    """
    total = int(table.sum())
    draws = np.random.default_rng(seed).multinomial(total, table.ravel() / total, size=resamples).reshape(resamples, *table.shape)
    values = from_confusion(draws, relevant_from)
    return {name: (float(np.quantile(value, 0.025)), float(np.quantile(value, 0.975))) for name, value in values.items()}


def summarise(predictions: pd.DataFrame, grades: int, relevant_from: int, resamples: int, seed: int) -> dict[str, float]:
    """All metrics of a predictions table (columns gold, predicted, mode, sample, example_id, subset, capability, frequency, tokens).

    Flat: "macro_f1", "macro_f1/low", "macro_f1/high", "<subset>/macro_f1", "<frequency>/macro_f1", "pass@1", "pass@k".
    """
    metrics = _group(predictions, grades, relevant_from)
    greedy = predictions[predictions["mode"] == "greedy"]
    table = confusion(greedy["gold"].to_numpy(), greedy["predicted"].to_numpy(), grades)
    bounds = interval(table, relevant_from, resamples, seed)
    for name in ("acc@4", "acc@2", "macro_f1"):
        metrics[f"{name}/low"], metrics[f"{name}/high"] = bounds[name]
    for column in ("subset", "frequency"):
        for value, rows in predictions.groupby(column, sort=True):
            metrics |= {f"{value}/{name}": number for name, number in _group(rows, grades, relevant_from).items()}
    return metrics


def _group(rows: pd.DataFrame, grades: int, relevant_from: int) -> dict[str, float]:
    greedy = rows[rows["mode"] == "greedy"]
    table = confusion(greedy["gold"].to_numpy(), greedy["predicted"].to_numpy(), grades)
    metrics = {name: float(value) for name, value in from_confusion(table, relevant_from).items()}
    metrics |= {
        "pairs": float(len(greedy)),
        "cot_tokens": float(greedy["reasoning_tokens"].mean()),
        "tokens": float(greedy["tokens"].mean()),
    }
    sampled = rows[rows["mode"] == "sampled"]
    if len(sampled):
        metrics |= _sampled(sampled)
    return metrics


def _sampled(sampled: pd.DataFrame) -> Mapping[str, float]:
    right = (sampled["predicted"] == sampled["gold"]).groupby(sampled["example_id"], sort=True)
    samples = int(right.size().iloc[0])
    correct = right.sum().to_numpy().astype(int)
    metrics = {f"pass@{k}": float(pass_at_k(correct, samples, k).mean()) for k in sorted({1, samples})}
    metrics["sampled_invalid_rate"] = float((sampled["predicted"] == INVALID).mean())
    distinct = sampled[sampled["predicted"] != INVALID].groupby("example_id")["predicted"].nunique()
    metrics["distinct_labels"] = float(distinct.mean()) if len(distinct) else 0.0
    return metrics

"""Metrics of a relevance judge: pure functions over arrays of grade indices. An invalid prediction is -1 and never right.

acc@4 is raw accuracy over the grades, acc@2 over relevant/irrelevant (LORE 2512.03025, RAIR 2512.24943). The names keep the papers' "4"
also for sources with another number of grades.
"""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd

from lore_lab.evaluate.calibration import nll
from lore_lab.evaluate.ranking import of_predictions
from lore_lab.evaluate.rules import violations

INVALID = -1
#: columns of label probabilities are PROBABILITY + the label, 1 to the number of grades
PROBABILITY = "probability/"
#: the same after temperature scaling, where `eval.calibrate` asks for it
CALIBRATED = "calibrated/"
#: what stands behind the names of metrics of each of them
_SUFFIX = {PROBABILITY: "", CALIBRATED: "_calibrated"}
_BINS = 10  #: of the calibration error; Guo et al. 1706.04599 use 15 on 10,000 images, we have fewer pairs (assumed)


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


def mean_interval(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap of a mean over pairs; values: one a pair."""
    counts = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), size=resamples)
    means = counts @ values / len(values)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def brier(gold: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(n,) squared distance of the label probabilities (n, grades) to the right label, 0 to 2 (Brier 1950)."""
    squares: np.ndarray = ((probabilities - np.eye(probabilities.shape[1])[gold]) ** 2).sum(axis=1)
    return squares


def calibration_error(gold: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error of the likeliest label, 0 to 1, over bins of equal width (Guo et al. 1706.04599, eq. 3)."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == gold
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(gold))


def summarise(predictions: pd.DataFrame, grades: int, relevant_from: int, resamples: int, seed: int) -> dict[str, float]:
    """All metrics of a predictions table (columns gold, predicted, mode, sample, example_id, subset, frequency; where there are such:
    tokens and reasoning_tokens, the grades that rules leave open, label probabilities with `scored`, query_id and item_id with the `score` to rank by).

    Flat: "macro_f1", each with "macro_f1/low" and "macro_f1/high", the same by group: "<subset>/macro_f1", "<frequency>/pass@1/low",
    "balanced/acc@4" of the subsets that hold every grade equally often, where there are others beside them.
    """
    metrics = _group(predictions, grades, relevant_from, resamples, seed)
    groups = [(value, rows) for column in ("subset", "frequency") for value, rows in predictions.groupby(column, sort=True)]
    groups += [("balanced", rows)] if 0 < len(rows := _balanced(predictions, grades)) < len(predictions) else []
    for value, rows in groups:
        metrics |= {f"{value}/{name}": number for name, number in _group(rows, grades, relevant_from, resamples, seed).items()}
    return metrics


def _balanced(predictions: pd.DataFrame, grades: int) -> pd.DataFrame:
    """The rows of the subsets whose pairs hold every grade equally often."""
    pairs = predictions[predictions["mode"] == "greedy"]
    counts = pd.crosstab(pairs["subset"], pairs["gold"]).reindex(columns=range(grades), fill_value=0)
    return predictions[predictions["subset"].isin(counts.index[counts.nunique(axis=1) == 1])]


def _group(rows: pd.DataFrame, grades: int, relevant_from: int, resamples: int, seed: int) -> dict[str, float]:
    greedy = rows[rows["mode"] == "greedy"]
    table = confusion(greedy["gold"].to_numpy(), greedy["predicted"].to_numpy(), grades)
    values = {name: float(value) for name, value in from_confusion(table, relevant_from).items()}
    bounds = interval(table, relevant_from, resamples, seed)
    sampled, beams = rows[rows["mode"] == "sampled"], rows[rows["mode"] == "beam"]
    ranking = _ranking(greedy, relevant_from)
    measures = _lengths(greedy) | _sampled(sampled) | _beams(beams) | _surprise(greedy, grades) | violations(greedy, grades) | ranking
    for name, measured in measures.items():
        values[name], bounds[name] = float(measured.mean()), mean_interval(measured, resamples, seed)
    if "score" in greedy:
        values["ranking_queries"] = float(max(map(len, ranking.values()), default=0))
    if "scored" in greedy:
        for suffix, probabilities in _probabilities(greedy, grades).items():
            values[f"ece{suffix}"] = calibration_error(greedy["gold"].to_numpy(), probabilities)
        values["unscored_rate"] = float(1 - greedy["scored"].mean())
    metrics = {"pairs": float(len(greedy))} | values
    for name, (low, high) in bounds.items():
        metrics |= {f"{name}/low": low, f"{name}/high": high}
    return metrics


def _lengths(greedy: pd.DataFrame) -> dict[str, np.ndarray]:
    """One value a pair."""
    columns = {"cot_tokens": "reasoning_tokens", "tokens": "tokens"}
    return {name: greedy[column].to_numpy().astype(float) for name, column in columns.items() if column in greedy}


def _probabilities(greedy: pd.DataFrame, grades: int) -> dict[str, np.ndarray]:
    """What stands behind the names of their metrics -> label probabilities (n, grades), for each kind there is."""
    there = {suffix: prefix for prefix, suffix in _SUFFIX.items() if f"{prefix}1" in greedy}
    return {suffix: greedy[[f"{prefix}{grade + 1}" for grade in range(grades)]].to_numpy() for suffix, prefix in there.items()}


def _surprise(greedy: pd.DataFrame, grades: int) -> dict[str, np.ndarray]:
    """One value a pair: Brier score and negative log-likelihood, where there are label probabilities."""
    gold = greedy["gold"].to_numpy()
    found = _probabilities(greedy, grades).items()
    return {f"brier{suffix}": brier(gold, own) for suffix, own in found} | {f"nll{suffix}": nll(gold, own) for suffix, own in found}


def _ranking(greedy: pd.DataFrame, relevant_from: int) -> dict[str, np.ndarray]:
    """One value a query: nDCG@10, MRR, recall@10, judged@10; nothing where no query has several items. MRR and recall leave out
    queries without a relevant item."""
    table = of_predictions(greedy, relevant_from) if "score" in greedy else pd.DataFrame()
    return {str(name): known.to_numpy() for name in table if len(known := table[name].dropna())}


def _sampled(sampled: pd.DataFrame) -> dict[str, np.ndarray]:
    """One value a sampled pair: pass@1, pass@n, the share of invalid completions, the number of different labels."""
    if not len(sampled):
        return {}
    pairs = sampled.groupby("example_id", sort=True)
    right = (sampled["predicted"] == sampled["gold"]).groupby(sampled["example_id"], sort=True)
    samples = int(right.size().iloc[0])
    correct = right.sum().to_numpy().astype(int)
    valid = sampled["predicted"].where(sampled["predicted"] != INVALID)
    return {f"pass@{k}": pass_at_k(correct, samples, k) for k in sorted({1, samples})} | {
        "sampled_invalid_rate": 1.0 - pairs["predicted"].agg(lambda predicted: (predicted != INVALID).mean()).to_numpy(),
        "distinct_labels": valid.groupby(sampled["example_id"], sort=True).nunique().to_numpy().astype(float),
    }


def _beams(beams: pd.DataFrame) -> dict[str, np.ndarray]:
    """Where the right label stands among the different labels of a pair's beam, the most probable completion of each counted.

    label_in_beam: one a pair, whether it is there. label_rank: one a pair that has it, 1 is first. optimistic_second_beam: one an error of the
    beam's first label that is too high, whether the right label is the second. Invalid completions have no label.
    """
    found, ranks, second = list[float](), list[float](), list[float]()
    for _, own in beams.sort_values("sample", kind="stable").groupby("example_id", sort=True):
        labels = list(dict.fromkeys(label for label in own["predicted"] if label != INVALID))
        gold = own["gold"].iloc[0]
        found.append(gold in labels)
        if gold in labels:
            ranks.append(labels.index(gold) + 1)
        if labels and labels[0] > gold:
            second.append(labels[1:2] == [gold])
    values = {"label_in_beam": found, "label_rank": ranks, "optimistic_second_beam": second}
    return {name: np.array(own, dtype=float) for name, own in values.items() if own}

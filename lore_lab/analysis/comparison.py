"""Arms against a baseline, by seed: the numbers of the summary, the report and the verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping

import numpy as np
import pandas as pd

from lore_lab.analysis.load import MODEL_STAGES, find_arm
from lore_lab.analysis.stats import Estimate, Pairs, holm, paired_differences, probability_of_improvement, t_interval, t_test

MAIN_METRICS = ("macro_f1", "ndcg@10", "acc@4", "acc@2", "pass@1", "pass@k", "invalid_rate", "optimistic_error_share")


def main_metrics(names: Iterable[Hashable]) -> dict[str, str]:
    """Short name -> metric column, for the main metrics that were measured."""
    columns = list(names)
    earlier = {f"{stage} macro_f1": column for stage in MODEL_STAGES if (column := f"{stage}_eval/macro_f1") in columns}
    return named_metrics(columns, MAIN_METRICS) | earlier


def named_metrics(names: Iterable[Hashable], wanted: Iterable[str]) -> dict[str, str]:
    """Short name -> metric column, for those of `wanted` that were measured of the final policy. pass@k is the largest k there is."""
    columns = [str(name) for name in names]
    ks = sorted(int(match[1]) for column in columns if (match := re.fullmatch(r"eval/pass@(\d+)", column)))
    meant = [f"pass@{ks[-1]}" if name == "pass@k" and ks and ks[-1] > 1 else name for name in wanted]
    return {name: f"eval/{name}" for name in meant if f"eval/{name}" in columns}


BySeed = dict[str, dict[int, float]]  #: arm -> seed -> value


def by_seed(runs: pd.DataFrame, metric: str) -> BySeed:
    """The values of `metric` over the finished points of every arm (empty where none is); a finished point without the metric is nan.

    Raises KeyError when the metric was never measured and ValueError when an arm has a seed twice: it then mixes two settings.
    """
    if metric not in runs:
        raise KeyError(f"no metric {metric!r} (there: {', '.join(c for c in map(str, runs) if '/' in c)[:400]})")
    values: BySeed = {str(arm): {} for arm in runs["arm"].unique()}
    done = runs["state"] == "done"
    for arm, seed, value in zip(runs["arm"][done], runs["seed"][done], runs[metric][done], strict=True):
        if int(seed) in values[arm]:
            raise ValueError(f"arm {arm!r} has seed {seed} twice: load one sweep, or take latest(runs)")
        values[arm][int(seed)] = float(value)
    return values


def pairs_of(values: BySeed, arm: str, baseline: str, missing: str = "error") -> Pairs:
    """The paired differences arm - baseline."""
    return paired_differences(values[arm], values[baseline], missing=missing, name=repr(arm))


def arm_estimate(values: Mapping[int, float]) -> Estimate | None:
    """Mean over the seeds of one arm with a 95 % t interval; None when no seed has the metric."""
    finite = [value for value in values.values() if math.isfinite(value)]
    return t_interval(finite) if finite else None


def compare(runs: pd.DataFrame, baseline: str, metric: str = "eval/macro_f1", *, missing: str = "error") -> pd.DataFrame:
    """Every other arm against `baseline`, paired by seed; one row per arm in the order of `runs`.

    Columns: arm, seeds, baseline and value (means over the pairs), difference with its 95 % t interval (low, high), p
    (two-sided), p_holm (over the arms compared), improvement (probability that a run of the arm scores higher). missing:
    "error" names seeds without a pair; "drop" leaves them out, listed in the column dropped. An arm without any pair has nan.
    """
    baseline = find_arm(runs, baseline)
    values = by_seed(runs, metric)
    rows = []
    for arm in (a for a in values if a != baseline):
        pairs = pairs_of(values, arm, baseline, missing)
        rows.append({"arm": arm, **_comparison(values[arm], values[baseline], pairs), "dropped": "; ".join(pairs.dropped)})
    table = pd.DataFrame(rows)
    if len(table):
        tested = table["p"].notna()
        table.insert(list(table).index("p") + 1, "p_holm", math.nan)
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    return table


def subset_effects(runs: pd.DataFrame, arm: str, baseline: str, metric: str = "eval/macro_f1", *, missing: str = "drop") -> pd.DataFrame:
    """The same difference on every subset that has the metric (eval/visual/macro_f1 ...): subset, seeds, difference, low, high. A metric of one
    subset stands for that of all pairs, so that what a claim about *visual* costs elsewhere is seen.

    Exploratory: the intervals are plain 95 % ones, not corrected for their number.
    """
    arm, baseline = find_arm(runs, arm), find_arm(runs, baseline)
    two = runs[runs["arm"].isin([arm, baseline])]
    stage, _, name = metric.partition("/")
    whole = name.partition("/")[2]
    name = whole if f"{stage}/{whole}" in runs else name
    pattern = re.compile(rf"{re.escape(stage)}/([^/]+)/{re.escape(name)}$")
    rows = []
    for match in filter(None, map(pattern.fullmatch, map(str, runs.columns))):
        pairs = pairs_of(by_seed(two, match[0]), arm, baseline, missing)
        if pairs.seeds:
            estimate = t_interval(pairs.differences)
            rows.append((match[1], estimate.n, estimate.mean, estimate.low, estimate.high))
    return pd.DataFrame(rows, columns=["subset", "seeds", "difference", "low", "high"])


def _comparison(arm: Mapping[int, float], baseline: Mapping[int, float], pairs: Pairs) -> dict[str, float]:
    if not pairs.seeds:
        return {"seeds": 0} | dict.fromkeys(("baseline", "value", "difference", "low", "high", "p", "improvement"), math.nan)
    mine, base = (np.array([side[seed] for seed in pairs.seeds]) for side in (arm, baseline))
    estimate = t_interval(pairs.differences)
    return {
        "seeds": estimate.n,
        "baseline": float(base.mean()),
        "value": float(mine.mean()),
        "difference": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "p": min(1.0, 2 * min(t_test(pairs.differences))),
        "improvement": probability_of_improvement(mine, base, resamples=2).mean,
    }

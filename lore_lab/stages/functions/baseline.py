"""Stage `baseline`: judges without a language model, fitted on the training pairs' observed labels, measured as policies are.

They read the item fields the policy may see, uncut: no prompt budget binds them. Imports no torch; CPU only.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from lore_lab.baselines import BASELINES
from lore_lab.data.example import Example
from lore_lab.evaluate.metrics import summarise
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs

#: of the metrics of a policy, those that say something of a judge whose answers are always valid
_KEPT = ("macro_f1", "acc@4", "acc@2", "optimistic_error_share", "ndcg@10", "mrr", "recall@10", "ranking_queries")


def run(context: StageContext) -> dict[str, Any]:
    """ "<baseline>/<metric>" and "<baseline>/<subset>/<metric>"."""
    settings = context.settings
    train, bench = Pairs.read(context.inputs["data"]), Pairs.read(context.inputs["bench"])
    examples = [example for _, example in train.rows[: settings.eval.baseline_pairs]]
    tables, metrics = [], dict[str, Any]()
    with threadpool_limits(1):  # sums depend on the thread count
        for done, name in enumerate(settings.eval.baselines, start=1):
            judge = BASELINES[name](examples, settings.features.fields, bench.grades)
            predicted, scores = judge.predict([example for _, example in bench.rows])
            table = pd.DataFrame([_row(*pair, *answer) for pair, *answer in zip(bench.rows, predicted, scores, strict=True)])
            tables.append(table.assign(baseline=name))
            measured = summarise(table, bench.grades, bench.source["relevant_from"], settings.eval.resamples, seed=0)
            metrics |= {f"{name}/{metric}": value for metric, value in measured.items() if _kept(metric)}
            context.progress(done, len(settings.eval.baselines), "baselines")
    pd.concat(tables, ignore_index=True).to_parquet(context.output / "predictions.parquet", index=False)
    return metrics | {"fitted_pairs": len(examples)}


def _row(subset: str, example: Example, predicted: int, score: float) -> dict[str, Any]:
    return {
        "example_id": example.id,
        "subset": subset,
        "frequency": example.frequency,
        "query_id": example.query_id,
        "item_id": example.item_id,
        "gold": example.gold,
        "mode": "greedy",
        "sample": 0,
        "predicted": int(predicted),
        "score": float(score),
    }


def _kept(metric: str) -> bool:
    """Whether one of _KEPT, of all pairs or of a group, or an end of its interval."""
    parts = [part for part in metric.split("/") if part not in ("low", "high")]
    return parts[-1] in _KEPT

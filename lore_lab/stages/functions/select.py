"""Stage `select`: the training pairs that stay, in the form of the data artifact, so that later stages read the one as the other."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd

from lore_lab.data.example import FREQUENCIES
from lore_lab.data.frame import write_examples
from lore_lab.data.selection import passes, thin
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import JUDGEMENTS, Pairs
from lore_lab.stages.functions.data import EXAMPLES, copy_description


def run(context: StageContext) -> dict[str, Any]:
    """Counts and shares of what stayed and went. `wrong` is the share of observed labels that are not gold: only a world knows it."""
    settings = context.settings
    pairs = Pairs.read(context.inputs["data"])
    examples = [example for _, example in pairs.rows]
    labels = np.array([example.label for example in examples])
    verdicts = {}
    for name in settings.selection.filters:
        table = pd.read_parquet(context.inputs[name].path / JUDGEMENTS)
        if table["example_id"].tolist() != [example.id for example in examples]:
            raise ValueError(f"judge {name} judged other pairs than those of the data stage")
        verdicts[name] = table["verdict"].to_numpy()
    passed = passes(labels, verdicts, settings.selection.ms)
    passing = np.flatnonzero(np.all([np.ones(len(examples), bool), *passed.values()], axis=0))
    kept = thin(passing, round(settings.selection.share * len(examples)), random.Random(f"selection/{settings.seed}"))
    if not len(kept):
        raise ValueError(
            f"selection.filters={settings.selection.filters} with selection.ms={settings.selection.ms} and selection.share="
            f"{settings.selection.share} leaves none of {len(examples)} pairs: nothing to train on. Take more pairs (data.size), fewer "
            "filters, or another budget of the judges (selection.judge.max_steps)"
        )
    write_examples(context.output / EXAMPLES, (pairs.rows[place] for place in kept))
    copy_description(context.inputs["data"].path, context.output)
    stays = np.isin(np.arange(len(examples)), kept)
    wrong = labels != np.array([example.gold for example in examples])
    frequency = np.array([example.frequency for example in examples])
    metrics = {"pairs": len(kept), "of": len(examples), "share": len(kept) / len(examples)}
    metrics |= {f"passes/{name}": float(own.mean()) for name, own in passed.items()} | {"passes/all": len(passing) / len(examples)}
    metrics |= {f"kept/{grade + 1}": int((stays & (labels == grade)).sum()) for grade in range(pairs.grades)}
    metrics |= {f"kept/{band}": int((stays & (frequency == band)).sum()) for band in FREQUENCIES}
    return (
        metrics | {"wrong/kept": float(wrong[stays].mean())} | ({"wrong/dropped": float(wrong[~stays].mean())} if not stays.all() else {})
    )

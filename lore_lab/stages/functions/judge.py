"""Stages `judge_im`, `judge_ci`, `judge_ms`: the label-only judges of LREF's data selection, and what they think of each training pair.

Each is fine-tuned from the base model; with `folds` above 1 a pair is judged by a model that saw no pair of its query. The artifact is the
table of label probabilities, not the models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lore_lab.data.example import Example
from lore_lab.data.selection import balanced_sample, confusable, folds, random_sample
from lore_lab.evaluate.metrics import PROBABILITY
from lore_lab.evaluate.probabilities import label_choices, label_probabilities
from lore_lab.prompts.formats import response_format
from lore_lab.rollout.engine import TransformersEngine, end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import JUDGEMENTS, Pairs
from lore_lab.train.common import load_policy, prepare, stage_seed
from lore_lab.train.sft import target_ids, train_sft

BATCH = 256  #: pairs scored at once
Draw = Callable[[Sequence[Example], Sequence[int], int, random.Random], list[int]]


def im(context: StageContext) -> dict[str, Any]:
    """IM: trained on a random sample and its observed labels."""
    pairs = Pairs.read(context.inputs["data"])
    return _judge(context, "im", pairs, random_sample, _labels(pairs))


def ci(context: StageContext) -> dict[str, Any]:
    """CI: trained on pairs of head, torso and tail queries in equal parts."""
    pairs = Pairs.read(context.inputs["data"])
    return _judge(context, "ci", pairs, balanced_sample, _labels(pairs))


def ms(context: StageContext) -> dict[str, Any]:
    """MS: trained on a random sample and, for each pair, the label that IM finds likeliest beside the observed one."""
    pairs = Pairs.read(context.inputs["data"])
    table = pd.read_parquet(context.inputs["im"].path / JUDGEMENTS)
    probabilities = table[[f"{PROBABILITY}{grade + 1}" for grade in range(pairs.grades)]].to_numpy()
    return _judge(context, "ms", pairs, random_sample, confusable(probabilities, _labels(pairs)))


def _labels(pairs: Pairs) -> np.ndarray:
    return np.array([example.label for _, example in pairs.rows])


def _judge(context: StageContext, name: str, pairs: Pairs, draw: Draw, targets: np.ndarray) -> dict[str, Any]:
    """Train on what `draw` gives of the pairs outside a fold, score the fold, fold after fold. targets: label a pair is trained to get."""
    settings = context.settings
    config = settings.selection.judge
    prepare(settings.compute.device, settings.compute.threads)
    examples = [example for _, example in pairs.rows]
    part = folds(examples, config.folds, random.Random(stage_seed(settings.seed, "folds")))
    found = np.zeros((len(examples), pairs.grades))
    trained_on: list[int] = []
    for fold in range(config.folds):
        judged = np.flatnonzero(part == fold)
        allowed = np.flatnonzero(part != fold) if config.folds > 1 else judged
        if not len(judged) or not len(allowed):
            raise ValueError(f"selection.judge.folds={config.folds}: the training pairs have too few queries; lower it")
        seed = stage_seed(settings.seed, f"judge/{name}/{fold}")
        learned = draw(examples, allowed.tolist(), config.pairs, random.Random(seed))
        found[judged] = _fold(context, pairs, fold, seed, learned, targets, judged)
        trained_on.append(len(learned))
    columns = {f"{PROBABILITY}{grade + 1}": found[:, grade] for grade in range(pairs.grades)}
    verdict = found.argmax(axis=1)
    table = pd.DataFrame({"example_id": [example.id for example in examples], "verdict": verdict, "fold": part, **columns})
    table.to_parquet(context.output / JUDGEMENTS, index=False)
    gold = np.array([example.gold for example in examples])
    return {
        "pairs": len(examples),
        "trained_pairs": sum(trained_on) / len(trained_on),
        "agrees": float((verdict == _labels(pairs)).mean()),
        "right": float((verdict == gold).mean()),
    }


def _fold(
    context: StageContext, pairs: Pairs, fold: int, seed: int, learned: Sequence[int], targets: np.ndarray, judged: np.ndarray
) -> np.ndarray:
    """(judged, grades) label probabilities by a model trained on the places `learned`."""
    settings = context.settings
    config, steps = settings.selection.judge, settings.selection.judge.max_steps
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    layout = response_format("label_only", pairs.grades)
    renderer = pairs.renderer(settings, tokenizer, layout=layout.name)

    def prompts(places: Sequence[int]) -> list[list[int]]:
        return [renderer.ids(pairs.rows[place][1]) for place in places]

    train_sft(
        config, seed, settings.compute, model, tokenizer, prompts(learned),
        [target_ids(tokenizer, layout.render(int(targets[place]), "")) for place in learned], context.work / f"fold-{fold}",
        lambda step, numbers: context.curves.log(fold * steps + step, numbers),
        lambda step, total, text: context.progress(fold * steps + step, config.folds * steps, text),
    )  # fmt: skip
    engine = TransformersEngine(model, tokenizer.pad_token_id, end_ids(model, tokenizer.eos_token_id))
    shared, choices = label_choices("", tokenizer, layout)
    work = [([*prompt, *shared], choices) for prompt in prompts(judged.tolist())]
    return label_probabilities(work, pairs.grades, engine, BATCH, lambda *_: None)

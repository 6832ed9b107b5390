"""Stage `distill`: the student learns from the teacher's answers on the training pairs, by one of several targets.

Pairs whose teacher's answer is invalid are left out, and counted: of all targets alike, so that students differ in what they are shown of the same
pairs. The observed labels play no part.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from lore_lab.evaluate.metrics import INVALID, PROBABILITY
from lore_lab.evaluate.probabilities import label_choices
from lore_lab.prompts.formats import ResponseFormat
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs, instructions
from lore_lab.stages.functions.teacher import ANSWERS
from lore_lab.train.common import load_policy, prepare, save_policy, stage_seed
from lore_lab.train.sft import target_ids, train_sft
from lore_lab.train.soft_labels import COLUMN, SoftLabels


def run(context: StageContext) -> dict[str, Any]:
    """format: the student's. Metrics: teacher_invalid and unpaired are shares of the training pairs that were left out."""
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    pairs = Pairs.read(context.inputs["data"])
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    renderer, layout = pairs.renderer(settings, tokenizer, head=instructions(context)), pairs.layout(settings)
    answers = pd.read_parquet(context.inputs["teacher"].path / ANSWERS)
    valid = answers[answers["predicted"] != INVALID]
    explained = explanations(valid, settings.distill.target, stage_seed(settings.seed, "shuffled"))
    examples = [example for _, example in pairs.rows if example.id in explained]
    grades = dict(zip(valid["example_id"], valid["predicted"], strict=True))
    prompts = [renderer.ids(example) for example in examples]
    targets = [target_ids(tokenizer, layout.render(int(grades[example.id]), explained[example.id])) for example in examples]
    hook = _soft_labels(settings.distill, layout, tokenizer, valid, [example.id for example in examples])
    metrics = train_sft(
        settings.distill, settings.seed, settings.compute, model, tokenizer, prompts, targets, context.work, context.curves.log,
        context.progress, stage="distill", **hook,
    )  # fmt: skip
    save_policy(model, tokenizer, context.output)
    count = len(answers)
    left_out = {"teacher_invalid": (count - len(valid)) / count, "unpaired": (len(valid) - len(examples)) / count}
    return metrics | left_out | {"target_tokens": sum(map(len, targets)) / len(targets)} | renderer.report()


def explanations(valid: pd.DataFrame, target: str, seed: int) -> dict[str, str]:
    """example_id -> the explanation its target shows, "" where it shows none. valid: columns example_id, predicted, reasoning.

    shuffled: that of another pair of the same predicted label, each used once; a pair alone with its label has none and is left out.
    """
    own = dict(zip(valid["example_id"], valid["reasoning"], strict=True))
    if target in ("label", "probabilities"):
        return dict.fromkeys(own, "")
    return shuffled(valid, own, seed) if target == "shuffled" else own


def shuffled(valid: pd.DataFrame, own: Mapping[str, str], seed: int) -> dict[str, str]:
    generator, result = random.Random(seed), dict[str, str]()
    for _, group in valid.groupby("predicted", sort=True):
        ids = sorted(group["example_id"])
        generator.shuffle(ids)
        if len(ids) > 1:
            result |= {one: own[other] for one, other in zip(ids, [*ids[1:], ids[0]], strict=True)}
    return result


def _soft_labels(config: Any, layout: ResponseFormat, tokenizer: Any, valid: pd.DataFrame, ids: Sequence[str]) -> dict[str, Any]:
    """What `train_sft` needs to show the student the teacher's probabilities; nothing for other targets."""
    if config.target != "probabilities":
        return {}
    shared, choices = label_choices("", tokenizer, layout)
    if shared or any(len(own) != 1 for own in choices):
        raise ValueError(f"distill=probabilities needs labels of one token each, this tokenizer has {choices}; take another distill target")
    columns = [f"{PROBABILITY}{grade + 1}" for grade in range(layout.grades)]
    rows = valid.set_index("example_id")[columns].loc[list(ids)].to_numpy().tolist()
    return {"columns": {COLUMN: rows}, "trainer": partial(SoftLabels, label_ids=[own[0] for own in choices], weight=config.weight)}

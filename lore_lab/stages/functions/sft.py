"""Stage `sft`: the base policy learns prompts and targets of the training pairs' observed labels."""

from __future__ import annotations

import random
from typing import Any

from lore_lab.cot import build_recipe
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs, taught
from lore_lab.train.common import adapted, load_policy, prepare, save_policy, stage_seed
from lore_lab.train.sft import target_ids, train_sft


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    pairs = Pairs.read(context.inputs["data"])
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    renderer, layout = pairs.seeing_renderer(context, tokenizer, model), pairs.layout(settings)
    model = adapted(model, settings.peft, stage_seed(settings.seed, "sft adapter"))
    recipe = build_recipe(settings.cot, pairs.source["name"], pairs.guide.rules, taught(context))
    # Wording is drawn per example, from the run seed: another seed is another phrasing of the same reasoning.
    generator = random.Random(stage_seed(settings.seed, "wording"))
    prompts, targets = [], []
    for example in (example for _, example in pairs.rows if recipe.covers(example)):
        reasoning = recipe.reasoning(example, generator) if layout.reasons else ""
        prompts.append(renderer.ids(example))
        targets.append(target_ids(tokenizer, layout.render(example.label, reasoning)))
    metrics = train_sft(
        settings.sft,
        settings.seed,
        settings.compute,
        model,
        tokenizer,
        prompts,
        targets,
        context.work,
        context.curves.log,
        context.progress,
    )
    if context.rank:
        return {}
    save_policy(model, tokenizer, context.output, on=context.inputs["policy"].path)
    lengths = {"prompt_tokens": sum(map(len, prompts)) / len(prompts), "target_tokens": sum(map(len, targets)) / len(targets)}
    return metrics | lengths | renderer.report()

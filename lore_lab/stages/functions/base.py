"""Stage `base`: the policy before any relevance label."""

from __future__ import annotations

from typing import Any

from lore_lab.data.registry import load_source
from lore_lab.prompts.lexicon import lexicon
from lore_lab.stages.context import StageContext
from lore_lab.train.base import pretrain
from lore_lab.train.common import prepare, save_policy


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    texts = list(load_source(context.config["data"]).texts(settings.model.pretrain.texts))
    model, tokenizer, metrics = pretrain(
        settings.model, texts, lexicon(), settings.compute, context.work, context.curves.log, context.progress
    )
    save_policy(model, tokenizer, context.output)
    return metrics

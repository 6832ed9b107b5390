"""Stages `base`, the policy before any relevance label, and `student`, the smaller model that stage `distill` will teach."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lore_lab.data.registry import load_source
from lore_lab.prompts.lexicon import lexicon
from lore_lab.stages.context import StageContext
from lore_lab.train.base import pretrain, train_tokenizer
from lore_lab.train.common import load_tokenizer, prepare, save_policy, stage_seed


def run(context: StageContext) -> dict[str, Any]:
    model = context.settings.model
    texts = _texts(context, model)
    return _pretrained(context, model, stage_seed(model.seed, "base"), train_tokenizer(texts, model.vocab_size, lexicon()), texts)


def student(context: StageContext) -> dict[str, Any]:
    """The teacher's architecture and tokenizer, sizes and pretraining of its own."""
    own = context.settings.distill.student
    model = SimpleNamespace(**vars(context.settings.model) | vars(own))
    tokenizer = load_tokenizer(context.inputs["policy"].path)
    return _pretrained(context, model, stage_seed(own.seed, "student"), tokenizer, _texts(context, model))


def _texts(context: StageContext, model: Any) -> list[str]:
    return list(load_source(context.config["data"]).texts(model.pretrain.texts))


def _pretrained(context: StageContext, config: Any, seed: int, tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    compute = context.settings.compute
    prepare(compute.device, compute.threads)
    model, metrics = pretrain(config, seed, tokenizer, texts, compute, context.work, context.curves.log, context.progress)
    save_policy(model, tokenizer, context.output)
    return metrics

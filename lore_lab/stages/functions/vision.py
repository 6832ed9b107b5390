"""Stage `vision`: the base policy gets a vision tower and learns to say what is on the source's images. No relevance label is read."""

from __future__ import annotations

from typing import Any

from transformers import set_seed

from lore_lab.data.registry import load_source
from lore_lab.stages.context import StageContext
from lore_lab.train.common import load_policy, prepare, save_policy, stage_seed
from lore_lab.train.sft import train_sft
from lore_lab.train.vision import add_vision, caption_rows


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    vision = settings.model.vision
    language, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    set_seed(stage_seed(settings.model.seed, "vision"))
    model = add_vision(vision, language, tokenizer)
    source: Any = load_source(context.config["data"])
    prompts, targets = caption_rows(model, tokenizer, source.captions(vision.images))
    metrics = train_sft(
        vision.pretrain, settings.model.seed, settings.compute, model, tokenizer, prompts, targets, context.work, context.curves.log,
        context.progress, "vision",
    )  # fmt: skip
    save_policy(model, tokenizer, context.output)
    parameters = {"parameters": float(sum(p.numel() for p in model.parameters())), "image_tokens": float(model.config.image_seq_length)}
    return metrics | parameters

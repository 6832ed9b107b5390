"""Supervised fine-tuning: the loss is on the completion only. TRL's SFTTrainer on tokens we rendered ourselves, and on the images they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTConfig as TrlSftConfig

from lore_lab.prompts.images import image_of
from lore_lab.train.buckets import BucketedSft
from lore_lab.train.common import Log, Recorder, Report, common_arguments, gather_weights, optimizer_arguments, run_trainer, stage_seed
from lore_lab.train.images import ImageCollator

if TYPE_CHECKING:
    from pathlib import Path

    from lore_lab.config.optimizer import OfflineConfig


def target_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of a target, the end token last."""
    return [*tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True), tokenizer.eos_token_id]


def train_sft(
    config: OfflineConfig,
    seed: int,
    compute: Any,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    targets: Sequence[list[int]],
    work: Path,
    log: Log,
    report: Report,
    stage: str = "sft",
    trainer: Callable[..., BucketedSft] = BucketedSft,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, float]:
    """Train `model` in place. prompts, targets: token ids, one of each an example; the prompts all show an image, or none does.

    Continues from a checkpoint in `work`. trainer: one that adds to the loss, and what it needs of each example beside its tokens in `columns`.
    """
    seed = stage_seed(seed, stage)
    rows: dict[str, Sequence[Any]] = {
        "input_ids": [[*prompt, *target] for prompt, target in zip(prompts, targets, strict=True)],
        "completion_mask": [[0] * len(prompt) + [1] * len(target) for prompt, target in zip(prompts, targets, strict=True)],
        **(columns or {}),
    }
    images = [image for prompt in prompts if (image := image_of(prompt)) is not None]
    if images and len(images) < len(prompts):
        raise ValueError(f"{len(images)} of {len(prompts)} prompts show an image; all must, or none")
    pictured: dict[str, Any] = {}
    if images:
        rows["picture"] = list(range(len(images)))
        pictured["data_collator"] = ImageCollator(tokenizer.pad_token_id, images=images)
    arguments = TrlSftConfig(
        **common_arguments(work / "checkpoints", seed, compute, config.save_steps),
        **optimizer_arguments(config),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        max_length=None,
        packing=False,
        completion_only_loss=True,
        loss_type="nll",
        remove_unused_columns=not images,
    )
    chosen = trainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
        callbacks=[Recorder(log, report, "loss")],
        **pictured,
    )
    chosen.compute = compute
    run_trainer(chosen, work)
    gather_weights(chosen)
    seen = config.max_steps * config.per_device_train_batch_size * config.gradient_accumulation_steps * max(1, compute.processes)
    return {"examples": float(len(prompts)), "epochs": seen / len(prompts)}

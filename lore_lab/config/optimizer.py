"""Settings of every optimizer, and of training on fixed pairs of prompt and target."""

from __future__ import annotations

from dataclasses import dataclass

from lore_lab.config.fields import setting


@dataclass
class OptimizerConfig:
    """What SFT and RL hand to AdamW and the schedule; every field explicit because library defaults drift."""

    learning_rate: float = setting("peak rate", gt=0, le=1)
    lr_scheduler_type: str = setting("schedule", choices=("constant", "constant_with_warmup", "linear", "cosine"))
    warmup_steps: int = setting("optimizer steps of linear warm-up", ge=0)
    weight_decay: float = setting("decoupled weight decay", ge=0, le=1)
    adam_beta1: float = setting("first moment decay", ge=0, lt=1)
    adam_beta2: float = setting("second moment decay", ge=0, lt=1)
    adam_epsilon: float = setting("Adam's epsilon", gt=0)
    max_grad_norm: float = setting("gradient norm clip; 0 is off", ge=0)


@dataclass
class OfflineConfig(OptimizerConfig):
    """A training on examples that are there beforehand."""

    max_steps: int = setting("optimizer steps", ge=1)
    per_device_train_batch_size: int = setting("examples a micro-batch", ge=1)
    gradient_accumulation_steps: int = setting("micro-batches an optimizer step", ge=1)
    save_steps: int = setting("checkpoint every so many optimizer steps; 0 is off", ge=0)

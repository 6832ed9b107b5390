"""What an idea is: a few hooks the trainer calls at fixed places. The trainer is blind to which ideas there are.

An idea is a section of `rl` with a switch, and the module lore_lab/train/<section>.py with `build(section, material) -> Idea`. It is imported
by name, so that a stage key covers the modules of the chosen ideas and of no other.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from lore_lab.train.sections import module_of, sections

if TYPE_CHECKING:
    from lore_lab.rollout.engine import Engine

Batch = dict[str, Any]  #: a generation batch or a micro-batch of TRL's trainer, our per-row columns beside its own
Row = dict[str, Any]  #: one row of the training dataset
Generate = Callable[[list[Row]], Batch]


@dataclass(frozen=True)
class ProbeSet:
    """Pairs the policy is asked every so many steps. groups: name -> their positions; a group without pairs is not there."""

    prompts: list[list[int]]
    gold: list[int]
    read: Callable[[Sequence[int]], int | None]  #: completion ids -> the grade it states
    groups: Mapping[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Material:
    """What the stage knows and an idea may need. Functions are called only by ideas that need them."""

    seed: int
    config: Any  #: the `rl` settings
    tokenizer: Any
    engine: Engine
    #: (prompt ids, target ids) of supervised examples
    targets: Callable[[], Sequence[tuple[list[int], list[int]]]]
    #: (example, what to tell, placement) -> prompt ids with a ground-truth hint, None where there is none to give
    hinted: Callable[[int, str, str], list[int] | None]
    #: completion ids -> for each token the index of its step (last one: the label), -1 outside any
    steps: Callable[[Sequence[int]], list[int]]
    #: (example, completion ids) -> reward of each step; nan where a step is missing
    step_rewards: Callable[[int, Sequence[int]], list[float]]
    #: completion ids -> for each token 2: the label, 1: a verdict, 0: neither
    deciding: Callable[[Sequence[int]], list[int]]
    #: number of pairs -> the watch's fixed set
    probe: Callable[[int], ProbeSet]


class Idea:
    """Hooks in the order in which the trainer calls them; each does nothing by default."""

    trainer: Any  #: LabTrainer, TRL's attributes included

    def attach(self, trainer: Any) -> None:
        """Once, when the trainer is made; the model holds the weights RL starts from."""
        self.trainer = trainer

    def rollout(self, rows: list[Row], generate: Generate) -> Batch:
        """Around generation and scoring. May call `generate` again on other rows; rows it exchanges it exchanges in `rows` too."""
        return generate(rows)

    def batch(self, batch: Batch) -> Batch:
        """The whole generation batch, before it is shuffled and split: the place for choices over all of its tokens."""
        return batch

    def log_probs(self, inputs: Batch, log_probs: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
        """The micro-batch's log-probs as the loss shall see them, inside the update's own forward pass."""
        return log_probs

    def loss(self, model: Any, inputs: Batch, log_probs: torch.Tensor) -> torch.Tensor | None:
        """A term added to TRL's loss, already divided by the accumulation steps."""
        return None

    def step(self, global_step: int) -> None:
        """After an optimizer step, before its metrics are logged."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep, as JSON."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""


def mask_of(batch: Batch) -> torch.Tensor:
    """Tokens the loss is over, as TRL takes them."""
    mask: torch.Tensor = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask


def per_token(advantages: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Advantages of shape (B,) or (B, T), as (B, T)."""
    return (advantages.unsqueeze(1) if advantages.dim() == 1 else advantages).expand_as(like)


def build_ideas(material: Material) -> list[Idea]:
    """The chosen ideas in the order the config names them."""
    return [importlib.import_module(module_of(name)).build(section, material) for name, section in sections(material.config).items()]

"""AFRL's mode-balanced optimisation (2602.10006): a supervised loss beside the policy loss.

    L = L_policy + w(t) CE(gold targets),   CE = forward KL to the data up to a constant, mode covering
    constant: w.   decaying: w linear to final x w.   adaptive: w_k+1 = w_k (1 + rate) while CE > (1 + tolerance) CE_0, else w_k / (1 + rate),
    within bounds x w

The paper gives neither weight nor schedule: both are assumed. CE is a mean over target tokens at temperature 1 and costs a forward pass
of its own, for it is over other data. Targets are drawn by step, so a resumed run sees the same ones, and so do several processes: each takes the
whole draw, whose mean gradient is then that of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lore_lab.train.idea import Batch, Idea, Material

if TYPE_CHECKING:
    from lore_lab.config.ideas import SftAuxiliaryConfig

Target = tuple[list[int], list[int]]


def decaying(config: SftAuxiliaryConfig, progress: float) -> float:
    """Factor on the weight after `progress` (0..1) of the run."""
    return 1.0 + (config.final - 1.0) * min(1.0, progress)


def adaptive(config: SftAuxiliaryConfig, factor: float, ratio: float) -> float:
    """The next factor on the weight; ratio: the loss over its first value."""
    moved = factor * (1 + config.rate) if ratio > 1 + config.tolerance else factor / (1 + config.rate)
    return min(max(moved, config.bounds[0]), config.bounds[1])


def collate(targets: Sequence[Target], pad_id: int, device: Any) -> dict[str, torch.Tensor]:
    """Right-padded inputs whose labels are the targets' tokens only."""
    width = max(len(prompt) + len(target) for prompt, target in targets)

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (width - len(row)) for row in rows], device=device)

    return {
        "input_ids": padded([prompt + target for prompt, target in targets], pad_id),
        "attention_mask": padded([[1] * (len(prompt) + len(target)) for prompt, target in targets], 0),
        "labels": padded([[-100] * len(prompt) + target for prompt, target in targets], -100),
    }


def cross_entropy(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean over the targets' tokens. Logits are made from the first place on at which any row has a target: those of prompts cost as much
    and say nothing."""
    first = int((batch["labels"] != -100).any(0).nonzero()[0])
    labels = batch["labels"][:, first:]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=labels.size(1) + 1).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels.flatten())


class SftAuxiliary(Idea):
    def __init__(self, config: SftAuxiliaryConfig, seed: int, pad_id: int, targets: Sequence[Target]) -> None:
        self.config, self.seed, self.pad_id, self.targets = config, seed, pad_id, targets
        self.factor, self.first = 1.0, 0.0
        self._losses: list[float] = []

    def loss(self, model: Any, inputs: Batch, log_probs: torch.Tensor) -> torch.Tensor:
        trainer = self.trainer
        position = trainer._step % trainer.current_gradient_accumulation_steps
        drawn = np.random.default_rng([self.seed, trainer.state.global_step, position]).integers(
            len(self.targets), size=self.config.batch_size
        )
        batch = collate([self.targets[index] for index in drawn], self.pad_id, log_probs.device)
        with trainer.accelerator.autocast():
            value = cross_entropy(model, batch)
        if self.config.schedule == "decaying":
            self.factor = decaying(self.config, trainer.state.global_step / max(1, trainer.state.max_steps))
        self._losses.append(value.item())
        trainer.note("sft_auxiliary/loss", self._losses[-1])
        trainer.note("sft_auxiliary/weight", self.config.weight * self.factor)
        return self.config.weight * self.factor * value / trainer.current_gradient_accumulation_steps

    def step(self, global_step: int) -> None:
        if not self._losses:
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses = []
        self.first = self.first or mean
        if self.config.schedule == "adaptive":
            self.factor = adaptive(self.config, self.factor, mean / self.first)

    def state(self) -> dict[str, Any]:
        return {"factor": self.factor, "first": self.first}

    def load(self, state: Mapping[str, Any]) -> None:
        self.factor, self.first = float(state["factor"]), float(state["first"])


def build(config: Any, material: Material) -> Idea:
    return SftAuxiliary(config, material.seed, material.tokenizer.pad_token_id, material.targets())

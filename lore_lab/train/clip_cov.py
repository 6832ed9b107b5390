"""Clip-Cov (2505.22617): a few random tokens of high covariance lose their gradient.

    chosen ~ uniform, floor(share x N) of the tokens with low < cov_t < high;  loss_t has no gradient on them

At least one token where any is in range, as the authors' code has it. What the tokens contribute to the loss's value stays; the entropy
bonus, if any, still acts on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lore_lab.train.covariance import covariance
from lore_lab.train.idea import Batch, Idea, Material, mask_of, per_token

if TYPE_CHECKING:
    from lore_lab.config.ideas import ClipCovConfig


def choose(values: torch.Tensor, mask: torch.Tensor, config: ClipCovConfig, generator: torch.Generator) -> torch.Tensor:
    """(B, T) bool: the tokens that lose their gradient."""
    inside = ((values > config.low) & (values < config.high) & mask.bool()).flatten().nonzero().squeeze(1)
    wanted = max(1, int(config.share * int(mask.sum())))
    drawn = inside[torch.randperm(len(inside), generator=generator)[:wanted].to(inside.device)]
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen.view(-1)[drawn] = True
    return chosen


class ClipCov(Idea):
    def __init__(self, config: ClipCovConfig, seed: int) -> None:
        self.config, self.seed = config, seed

    def batch(self, batch: Batch) -> Batch:
        own = self.trainer.rollout_log_probs(batch)
        mask, log_probs, advantages = map(self.trainer.everywhere, (mask_of(batch), own, per_token(batch["advantages"], own)))
        values = covariance(log_probs, advantages, mask)
        # A generator of its own, from the step: other random streams stay as they are, and a resumed run draws the same tokens.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.trainer.state.global_step)
        chosen = choose(values, mask, self.config, generator)
        batch["clip_cov"] = self.trainer.own(chosen, own)
        self.trainer.note("clip_cov/tokens", chosen.sum().item())
        self.trainer.note("clip_cov/share", (chosen.sum() / mask.sum()).item())
        return batch

    def log_probs(self, inputs: Batch, log_probs: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
        return torch.where(inputs["clip_cov"], log_probs.detach(), log_probs)


def build(config: Any, material: Material) -> Idea:
    return ClipCov(config, material.seed)

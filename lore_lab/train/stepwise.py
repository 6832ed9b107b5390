"""AFRL's Stepwise-GRPO (2602.10006): each step's tokens get an advantage of their own.

    A_t = (1 - w) A + w A_k(t) for a token of step k (a section of the reasoning), A for every other token, the label's included
    A_k = (r_k - mean r_k) / (std r_k + 1e-4) over the completions of the group that have step k; no division with scale_rewards=none

r_k: the step against gold facts (needs, knowledge, what is seen, path, rules). The mixing and w are assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lore_lab.train.idea import Batch, Idea, Material, per_token

if TYPE_CHECKING:
    from lore_lab.config.ideas import StepwiseConfig


def step_advantages(rewards: torch.Tensor, size: int, scale: bool) -> torch.Tensor:
    """(B, S) group-relative advantages of step rewards (B, S); 0 where a step is missing (nan) or stands alone."""
    groups = rewards.view(-1, size, rewards.size(1))
    there = ~groups.isnan()
    count = there.sum(1, keepdim=True)
    mean = groups.nan_to_num(0.0).sum(1, keepdim=True) / count.clamp(min=1)
    centred = (groups - mean).nan_to_num(0.0)
    if scale:
        deviation = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
        centred = centred / (deviation + 1e-4)
    return centred.view_as(rewards)


def credit(advantages: torch.Tensor, own: torch.Tensor, steps: torch.Tensor, weight: float) -> torch.Tensor:
    """(B, T) advantages. advantages: (B, T) of the completions. own: (B, S). steps: (B, T), indices into S, others outside any step."""
    inside = (steps >= 0) & (steps < own.size(1))
    picked = own.gather(1, steps.clamp(0, own.size(1) - 1))
    return torch.where(inside, (1 - weight) * advantages + weight * picked, advantages)


class Stepwise(Idea):
    def __init__(self, config: StepwiseConfig, material: Material) -> None:
        self.config, self.material = config, material

    def batch(self, batch: Batch) -> Batch:
        ids, lengths = batch["completion_ids"], batch["completion_mask"].sum(1).tolist()
        rows = [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]
        steps = [self.material.steps(row) + [-1] * (ids.size(1) - len(row)) for row in rows]
        rewards = [self.material.step_rewards(example, row) for example, row in zip(batch["example"].tolist(), rows, strict=True)]
        own = step_advantages(
            torch.tensor(rewards, device=ids.device), self.trainer.num_generations, self.material.config.scale_rewards != "none"
        )
        whole = per_token(batch["advantages"], ids)
        batch["advantages"] = credit(whole, own, torch.tensor(steps, device=ids.device), self.config.weight)
        self.trainer.note("stepwise/moved", (batch["advantages"] - whole).abs().mean().item())
        return batch


def build(config: Any, material: Material) -> Idea:
    return Stepwise(config, material)

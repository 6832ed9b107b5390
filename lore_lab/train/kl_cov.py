"""KL-Cov (2505.22617): the tokens of highest covariance are held near the policy that sampled them.

    + coef |log p_t - log p_old,t| on the share x N tokens of highest cov_t, at least one; no ratio clip anywhere (the YAML opens it)

The term enters the loss with the weights TRL gives its own per-token loss. At the first update after a rollout log p = log p_old, so it
acts from the second on: with one update a rollout it never does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lore_lab.train.covariance import covariance
from lore_lab.train.idea import Batch, Idea, Material, mask_of, per_token

if TYPE_CHECKING:
    from lore_lab.config.ideas import KlCovConfig


ROUNDING = 1e-4  #: nats; sampler and trainer differ by 1e-6 to 1e-5 in fp32 (assumed). Under bf16 two passes differ by more, and their sign still acts


def choose(values: torch.Tensor, mask: torch.Tensor, share: float) -> torch.Tensor:
    """(B, T) bool: the `share` of unmasked tokens of highest value, at least one."""
    count = max(1, int(share * int(mask.sum())))
    top = values.masked_fill(~mask.bool(), -torch.inf).flatten().topk(count).indices
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen.view(-1)[top] = True
    return chosen


class KlCov(Idea):
    def __init__(self, config: KlCovConfig) -> None:
        self.config = config

    def batch(self, batch: Batch) -> Batch:
        own = self.trainer.rollout_log_probs(batch)
        mask, log_probs, advantages = map(self.trainer.everywhere, (mask_of(batch), own, per_token(batch["advantages"], own)))
        chosen = choose(covariance(log_probs, advantages, mask), mask, self.config.share)
        batch["kl_cov"] = self.trainer.own(chosen, own)
        self.trainer.note("kl_cov/tokens", chosen.sum().item())
        return batch

    def loss(self, model: Any, inputs: Batch, log_probs: torch.Tensor) -> torch.Tensor:
        chosen = inputs["kl_cov"]
        old = inputs.get("old_per_token_logps")
        difference = log_probs - (log_probs.detach() if old is None else old)
        # The sampler's log-probs are the trainer's up to rounding, whose sign is noise; |x| has a slope of 1 even there.
        distance = difference.abs() * (chosen & (difference.detach().abs() > ROUNDING))
        if chosen.any():
            self.trainer.note("kl_cov/distance", (distance.detach().sum() / chosen.sum()).item())
        return self.config.coef * (distance * self.trainer.token_weights(inputs)).sum()


def build(config: Any, material: Material) -> Idea:
    return KlCov(config)

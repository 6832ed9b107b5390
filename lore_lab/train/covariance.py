"""The covariance of "The Entropy Mechanism" (2505.22617) that Clip-Cov and KL-Cov choose tokens by.

    cov_t = (A_t - mean A) (log p_t - mean log p), means over all tokens

Taken over the whole generation batch under the policy that sampled it; published code takes it per micro-batch under the policy being
updated. Assumed: the choice is meant for the batch of rollouts, and no extra forward pass is needed this way.
"""

from __future__ import annotations

import torch


def covariance(log_probs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, T) covariances, 0 outside `mask`. All arguments are (B, T)."""
    mask = mask.to(log_probs.dtype)
    count = mask.sum().clamp(min=1.0)
    centred = [tensor - (tensor * mask).sum() / count for tensor in (advantages, log_probs)]
    return centred[0] * centred[1] * mask

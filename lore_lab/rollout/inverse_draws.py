"""Tokens drawn by inverting the cumulative distribution: `compute.inverse_draws`.

torch.multinomial, which transformers' generate samples with, draws an exponential number for each token of the vocabulary; on processors other than
Intel's that is a quarter of sampling (docs/log.md). One uniform number a row and a search give the same distribution, and other tokens for the same
seed. Importing this module sets it for the process; a stage's worker imports it where the config chose it (lore_lab.stages.graph).
"""

from __future__ import annotations

from typing import Any

import torch

#: torch's own, also where this module is imported anew
_exponential: Any = getattr(torch.multinomial, "exponential", torch.multinomial)


def inverse(weights: torch.Tensor, num_samples: int, replacement: bool = False, **rest: Any) -> torch.Tensor:
    """torch.multinomial for one draw a row of (B, V) weights on a processor, which need not add up to 1; torch's own for anything else."""
    if num_samples != 1 or weights.dim() != 2 or weights.device.type != "cpu":
        drawn: torch.Tensor = _exponential(weights, num_samples, replacement, **rest)
        return drawn
    reached = weights.double().cumsum(1)
    most = reached[:, -1:]
    if not (most.isfinite().all() and (most > 0).all() and (weights >= 0).all()):
        raise RuntimeError("probabilities to draw from are negative, not finite or all zero")
    uniform = torch.rand(len(weights), 1, dtype=torch.float64, generator=rest.get("generator"))
    return torch.searchsorted(reached, torch.minimum(uniform * most, most.nextafter(torch.zeros_like(most))), right=True)


inverse.exponential = _exponential  # type: ignore[attr-defined]
torch.multinomial = inverse  # type: ignore[assignment]

"""TRL's head with all logits of a pass at once, for processors: `compute.whole_logits`.

Without Triton TRL folds logits tile by tile, a dozen passes over each, and computes every tile again for its gradient, so that they need never be
held. Where they fit they are held: the same log-probs, entropies and gradients in less than half of the time (docs/performance.md). Importing this
module sets it for the process; a stage's worker imports it where the config chose it (lore_lab.stages.graph).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import linear, nll_loss
from trl.kernels import ChunkedLogProbFunction
from trl.trainer import utils

#: logits of a pass at most, 32 MB each time they are held in float32; more go through TRL's tiles
MOST = 2**23

if not hasattr(utils, "_ChunkedLogProbFunction"):
    raise RuntimeError("compute.whole_logits=true: this TRL has no _ChunkedLogProbFunction; take compute.whole_logits=false")


class WholeLogits:
    """In the place of TRL's autograd function, whose arguments `apply` has."""

    @staticmethod
    def apply(
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_size: int,
        softcap: float | None = None,
        scale: float = 1.0,
        outputs: Sequence[str] = (),
    ) -> tuple[torch.Tensor | None, ...]:
        """hidden: (N, H); weight: (V, H); targets: (N,). Log-probs of the targets, and of `outputs` the entropies, log sum of squared probabilities,
        mean logits and whether the target is the likeliest token, (N,) each, None where not asked for; the last three without gradients."""
        if hidden.device.type != "cpu" or len(hidden) * len(weight) > MOST:
            found: tuple[torch.Tensor | None, ...] = ChunkedLogProbFunction.apply(
                hidden, weight, bias, targets, temperature, chunk_size, softcap, scale, outputs
            )
            return found
        logits = linear(hidden, weight, bias).float()
        if scale != 1:  # each is a pass over all of them
            logits = logits * scale
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        if temperature != 1:
            logits = logits / temperature
        log_probs = logits.log_softmax(-1)
        made = {
            "entropy": lambda: -(log_probs.exp() * log_probs).sum(-1),
            "log_sum_sq_probs": lambda: (2 * log_probs.detach()).logsumexp(-1),
            "mean_logits": lambda: logits.detach().mean(-1),
            "is_top1": lambda: log_probs.argmax(-1) == targets,
        }
        return -nll_loss(log_probs, targets, reduction="none"), *(make() if name in outputs else None for name, make in made.items())


utils._ChunkedLogProbFunction = WholeLogits  # type: ignore[assignment,misc]

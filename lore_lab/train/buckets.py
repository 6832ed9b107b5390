"""Rows of like length go through the model together, so that little of the work is padding.

A micro-batch of mixed lengths is padded to its longest prompt plus its longest completion.
The same rows in a few groups, each trimmed to its own longest, give the same log-probs, losses and gradients up to the order of sums
(tests/train/test_buckets.py). `compute.length_buckets=1` is the library's own padded forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import pad
from trl import SFTTrainer


def groups(mask: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, int, int]]:
    """(rows, first column, end column) of groups of at most `size` rows, shortest first. mask: (B, T), 1 where a row has a token.

    The columns are the least span that holds every token of the group.
    """
    order = torch.argsort(mask.sum(1), stable=True)
    for rows in order.split(size):
        used = mask[rows].any(0).nonzero()
        yield rows, int(used[0]), int(used[-1]) + 1


class BucketedSft(SFTTrainer):
    """SFTTrainer whose forward passes are grouped by length. length_buckets: groups a micro-batch."""

    length_buckets: int = 1

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        if self.length_buckets == 1 or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if num_items_in_batch is None:
            num_items_in_batch = (inputs["labels"][:, 1:] != -100).sum()
        mask = inputs["attention_mask"]
        size = -(-len(mask) // self.length_buckets)
        losses = []
        for rows, start, end in groups(mask, size):
            part = {name: tensor[rows, start:end] for name, tensor in inputs.items() if isinstance(tensor, torch.Tensor)}
            losses.append(super().compute_loss(model, part, num_items_in_batch=num_items_in_batch))
        return torch.stack(losses).sum()


def bucketed(
    forward: Any, model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int, size: int, **options: Any
) -> tuple[Any, Any, None]:
    """TRL's `_get_per_token_logps_and_entropies`, called as `forward` on groups of at most `size` rows of like length.

    ids, mask: (B, P + T), prompts padded on the left, completions on the right; keep: T. Returns (B, T) log-probs and entropies, 0 where a row
    has no token.
    """
    rows_seen: list[torch.Tensor] = []
    log_probs: list[torch.Tensor] = []
    entropies: list[torch.Tensor] = []
    prompt = ids.size(1) - keep
    for rows, start, end in groups(mask, size):
        end = max(end, prompt + 1)
        found, entropy, _ = forward(model, ids[rows, start:end], mask[rows, start:end], end - prompt, **options)
        missing = (0, keep - (end - prompt))
        rows_seen.append(rows)
        log_probs.append(pad(found, missing))
        if entropy is not None:
            entropies.append(pad(entropy, missing))
    back = torch.argsort(torch.cat(rows_seen))
    joined = torch.cat(entropies)[back] if entropies else None
    return torch.cat(log_probs)[back], joined, None

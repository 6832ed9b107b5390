"""Rows of like length go through the model together, so that little of the work is padding.

A micro-batch of mixed lengths is padded to its longest prompt plus its longest completion.
The same rows in a few groups, each trimmed to its own longest, give the same log-probs, losses and gradients up to the order of sums
(tests/train/test_buckets.py). `compute.length_buckets=1` is the library's own padded forward. In SFT, what all rows of a batch begin with
(the instructions of a long prompt) goes through the model once, under `compute.prompts_once`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.functional import pad
from trl import SFTTrainer

from lore_lab.rollout.prefix import WORTH, shareable
from lore_lab.train.prompts_once import PromptsOnce


def groups(mask: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, int, int]]:
    """(rows, first column, end column) of groups of at most `size` rows, shortest first. mask: (B, T), 1 where a row has a token.

    The columns are the least span that holds every token of the group.
    """
    order = torch.argsort(mask.sum(1), stable=True)
    for rows in order.split(size):
        used = mask[rows].any(0).nonzero()
        yield rows, int(used[0]), int(used[-1]) + 1


@contextmanager
def labelled(model: Any, inputs: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """`inputs` for a fused head that sees only positions with a label: without Triton it would project every token of every prompt."""
    places = inputs["labels"][:, 1:] != -100

    def keep(module: Any, args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[:, :-1][places].unsqueeze(0)
        return output

    handle = getattr(model, "get_base_model", lambda: model)().base_model.register_forward_hook(keep)
    shown = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    try:
        yield shown | {"shift_labels": inputs["labels"][:, 1:][places].unsqueeze(0)}
    finally:
        handle.remove()


def common_beginning(ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> int:
    """How many leading tokens all rows have alike before the last one that no label depends on. ids, mask, labels: (B, T)."""
    alike = (ids == ids[0]).all(0) & mask.bool().all(0) & (labels == -100).all(0)
    return max(0, int(alike.long().cumprod(0).sum()) - 1)


class BucketedSft(SFTTrainer):
    """SFTTrainer whose forward passes are grouped by length and project only what is scored. compute: ComputeConfig."""

    compute: Any = None

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        buckets = 1 if self.compute is None else self.compute.length_buckets
        if buckets == 1 or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if num_items_in_batch is None:
            num_items_in_batch = self.accelerator.gather((inputs["labels"][:, 1:] != -100).sum()).sum()
        ids, mask, bare = inputs["input_ids"], inputs["attention_mask"], self.accelerator.unwrap_model(model)
        size = -(-len(mask) // buckets)
        begun = self._beginning(bare, inputs)
        if begun:
            with self.accelerator.autocast():
                beginning = PromptsOnce(bare, ids[:, : begun + 1], mask[:, : begun + 1])
        losses = []
        for rows, start, end in groups(mask[:, begun:], size):
            tensors = {name: tensor[rows] for name, tensor in inputs.items() if isinstance(tensor, torch.Tensor)}
            part = {
                name: tensor[:, begun + start : begun + end] if tensor.dim() == 2 else tensor for name, tensor in tensors.items()
            }  # images stay whole
            with labelled(bare, part) if self.compute.labels_only else nullcontext(part) as shown:
                through = beginning.behind(rows) if begun else model
                losses.append(super().compute_loss(through, shown, num_items_in_batch=num_items_in_batch))
        return torch.stack(losses).sum()

    def _beginning(self, bare: Any, inputs: Any) -> int:
        """Columns to compute once for all rows; 0: none."""
        if not self.compute.prompts_once or self.args.gradient_checkpointing or self.accelerator.num_processes > 1:
            return 0  # checkpointed layers keep no cache
        if "pixel_values" in inputs or not shareable(bare):
            return 0
        begun = common_beginning(inputs["input_ids"], inputs["attention_mask"], inputs["labels"])
        return begun if begun >= WORTH else 0


def bucketed(
    forward: Any, model: Callable[[torch.Tensor], Any], ids: torch.Tensor, mask: torch.Tensor, keep: int, size: int, **options: Any
) -> tuple[Any, Any, None]:
    """TRL's `_get_per_token_logps_and_entropies`, called as `forward` on groups of at most `size` rows of like length.

    model: rows -> the model they go through. ids, mask: (B, P + T), prompts padded on the left, completions on the right; keep: T. Returns (B, T) log-probs and entropies, 0 where a row
    has no token.
    """
    rows_seen: list[torch.Tensor] = []
    log_probs: list[torch.Tensor] = []
    entropies: list[torch.Tensor] = []
    prompt = ids.size(1) - keep
    for rows, start, end in groups(mask, size):
        end = max(end, prompt + 1)
        found, entropy, _ = forward(model(rows), ids[rows, start:end], mask[rows, start:end], end - prompt, **options)
        missing = (0, keep - (end - prompt))
        rows_seen.append(rows)
        log_probs.append(pad(found, missing))
        if entropy is not None:
            entropies.append(pad(entropy, missing))
    back = torch.argsort(torch.cat(rows_seen))
    joined = torch.cat(entropies)[back] if entropies else None
    return torch.cat(log_probs)[back], joined, None

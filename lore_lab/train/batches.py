"""Surgery on generation batches: rows of batches that were padded to different widths put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lore_lab.train.idea import Batch

_LEFT = ("prompt_ids", "prompt_mask")  #: padded on the left; every other (B, T) column on the right


def _pad(tensor: torch.Tensor, width: int, value: Any, left: bool) -> torch.Tensor:
    missing = width - tensor.size(1)
    return torch.nn.functional.pad(tensor, (missing, 0) if left else (0, missing), value=value) if missing else tensor


def replace_rows(batch: Batch, rows: Sequence[int], other: Batch, pad_id: int) -> Batch:
    """`batch` with its rows `rows` taken from `other`, in order; `num_items_in_batch` counted again. Both must have the same columns."""
    index = torch.as_tensor(list(rows))
    result: Batch = {}
    for name, value in batch.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"cannot exchange rows of column {name!r}: it is no tensor")
        if value.dim() == 0:
            continue
        fresh = other[name]
        if value.dim() == 2:
            width = max(value.size(1), fresh.size(1))
            fill = pad_id if name.endswith("_ids") else 0
            value, fresh = (_pad(tensor, width, fill, name in _LEFT) for tensor in (value, fresh))
        value = value.clone()
        value[index.to(value.device)] = fresh.to(value.dtype)
        result[name] = value
    result["num_items_in_batch"] = result["completion_mask"].sum()
    return result


def group_rows(groups: Sequence[int], size: int) -> list[int]:
    """Row numbers of whole groups of `size` rows."""
    return [group * size + position for group in groups for position in range(size)]


def flat_groups(rewards: torch.Tensor, size: int) -> list[int]:
    """Groups in which every completion earned the same: their advantages are all zero."""
    spread = rewards.view(-1, size).amax(1) - rewards.view(-1, size).amin(1)
    return (spread < 1e-6).nonzero().squeeze(1).tolist()

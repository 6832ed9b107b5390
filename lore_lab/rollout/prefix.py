"""What prompts of a batch have in common, all of it or their beginning, and keys and values for it once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

WORTH = 24  #: tokens; a shorter common beginning is not worth a forward pass of its own


def common_beginning(rows: Sequence[Sequence[int]], left: int) -> int:
    """How many tokens all rows begin with, `left` of each not counted; 0 where that is not worth it, or all rows are the same."""
    first, last = min(map(tuple, rows)), max(map(tuple, rows))  # in order, what these two share all share
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    found = min(alike, min(map(len, rows)) - left)
    return found if found >= WORTH and first != last else 0


def different(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows that first show each different text, for every row which of these it repeats). ids, mask: (B, P)."""
    _, which = torch.unique(ids.masked_fill(mask == 0, -1), dim=0, return_inverse=True)
    rows = torch.arange(len(ids), device=ids.device)
    first = rows.new_full((int(which.max()) + 1,), len(ids)).scatter_reduce(0, which, rows, "amin")
    return first, which


def shareable(model: Any) -> bool:
    """Whether every layer of `model` keeps plain keys and values of all tokens: windows and recurrent states cannot be dealt out to rows."""
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def prefilled(model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache | None = None, **options: Any) -> DynamicCache:
    """A causal LM's keys and values of (B, P) tokens, with their gradients; its head is not run.

    cache: what stands before them, which grows. mask: (B, all tokens)."""
    cache = DynamicCache(config=model.config) if cache is None else cache
    decoder = getattr(model, "get_base_model", lambda: model)().base_model  # under an adapter lies the causal LM
    decoder(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
    return cache

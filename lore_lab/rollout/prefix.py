"""Prompts of a batch that are equal, and keys and values for each of them once."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


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


def prefilled(model: Any, ids: torch.Tensor, mask: torch.Tensor, **options: Any) -> DynamicCache:
    """A causal LM's keys and values of (B, P) tokens, with their gradients; its head is not run."""
    cache = DynamicCache(config=model.config)
    decoder = getattr(model, "get_base_model", lambda: model)().base_model  # under an adapter lies the causal LM
    decoder(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
    return cache

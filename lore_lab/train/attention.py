"""Attention of grouped queries as two batched products, for processors: `model.attention=grouped`.

transformers' own two repeat every key and value for each query head of its group, and copy them all to do so: `eager` in each decoding step,
`sdpa` in each pass of several tokens. Here the queries of a group stand in one matrix before the keys they share. Torch's fused kernel for processors
is also several times slower in bfloat16 than in float32; batched products are not (docs/performance.md). Under autocast scores and weights stay in
its type, softmax adds up in float32.

Importing this module makes the name known to transformers; a stage's worker imports it where the config chose it (lore_lab.stages.graph).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import dropout as drop_out
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "grouped"
#: what some models ask of attention beside masks; ignored, it would be another model
_UNKNOWN = ("softcap", "s_aux", "position_bias")


def grouped(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention function. query: (B, heads, T, D); key, value: (B, groups, S, D), heads a multiple of groups; attention_mask: what
    is added to the scores, (B, 1, T, S), None for nothing. Returns (B, T, heads, D).

    Raises ValueError for a model whose attention is more than that.
    """
    if more := [name for name in _UNKNOWN if rest.get(name) is not None]:
        raise ValueError(f"model.attention={NAME} knows no {', '.join(more)}; take model.attention=eager")
    batch, heads, length, width = query.shape
    groups, seen = key.shape[1:3]
    device = query.device.type
    kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    shared = (query * (width**-0.5 if scaling is None else scaling)).to(kind).reshape(batch, groups, -1, width)
    scores: torch.Tensor = _Scores.apply(shared, key.to(kind))  # type: ignore[no-untyped-call]
    if attention_mask is not None:
        mask = attention_mask.to(kind).clamp(
            min=torch.finfo(kind).min
        )  # float32's least is -inf in bfloat16, and a row of it has no softmax
        scores = (scores.view(batch, groups, -1, length, seen) + mask[:, :, None]).view(batch, groups, -1, seen)
    weights = drop_out(scores.softmax(-1), dropout, module.training)
    return (weights @ value).view(batch, heads, length, width).transpose(1, 2), None


class _Scores(torch.autograd.Function):
    """query (B, G, R, D) and key (B, G, S, D) to their products (B, G, R, S). Autograd's own gradient of keys lies transposed in memory, and what stands
    before attention, rotation and norm, would gather it number by number: a tenth of a compiled step."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(query, key)
        return query @ key.transpose(2, 3)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        query, key = ctx.saved_tensors
        return grad @ key, grad.transpose(2, 3) @ query


AttentionInterface.register(NAME, grouped)
AttentionMaskInterface.register(NAME, eager_mask)

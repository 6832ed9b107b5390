"""A micro-batch's prompts go through the model once each: the completions of a group share theirs.

TRL forwards every row whole and, without Triton, projects every position onto the vocabulary, though rows repeat their group's prompt and
only completion tokens are scored. Here keys and values of the different prompts are computed once, and each row's completion, with the
prompt's last token before it, is forwarded behind them; gradients flow back through the cache. The same log-probs, losses and gradients up
to the order of sums (tests/train/test_buckets.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from lore_lab.rollout.prefix import different, prefilled


class PromptsOnce:
    """model: a bare, shareable causal LM under TRL's fused head. ids, mask: (B, P) prompts, padded on the left, P at least 2."""

    def __init__(self, model: Any, ids: torch.Tensor, mask: torch.Tensor) -> None:
        start = int(mask[:, :-1].any(0).float().argmax())  # columns before it no row uses
        head, self.mask = ids[:, start:-1], mask[:, start:-1]
        first, self.which = different(head, self.mask)
        self.model = model
        layers: list[Any] = prefilled(model, head[first], self.mask[first]).layers
        self.layers = [(layer.keys, layer.values) for layer in layers]

    def behind(self, rows: torch.Tensor) -> Callable[..., Any]:
        """The model as TRL calls it, for `rows` without the heads of their prompts: (rows, 1 + T) ids, mask and labels."""
        cache = DynamicCache(config=self.model.config)
        for place, (keys, values) in enumerate(self.layers):
            cache.update(keys.index_select(0, self.which[rows]), values.index_select(0, self.which[rows]), place)

        def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest: Any) -> Any:
            whole = torch.cat([self.mask[rows], attention_mask], 1)
            return self.model(input_ids=input_ids, attention_mask=whole, past_key_values=cache, **rest)

        return forward

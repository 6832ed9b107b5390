"""Generation behind one interface: token ids in, token ids out. RL, evaluation and pass@k all go through it.

The in-process engine is transformers' own generate; others implement `Engine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from transformers import GenerationConfig, PreTrainedModel


@dataclass(frozen=True)
class Sampling:
    """temperature 0 is greedy. top_k 0 and top_p 1 are off. max_tokens: completion length at most, the end token included."""

    temperature: float
    max_tokens: int
    top_p: float = 1.0
    top_k: int = 0


class Engine(Protocol):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        """One completion a prompt. A completion that ended by itself ends with an end token; any other was cut by the limit."""
        ...


@dataclass
class TransformersEngine:
    """transformers' generate on the live model, randomness from torch's global generator of the model's device.

    rounds: equal parts of the length limit. A batch runs until its longest completion ends; after each part only the unfinished rows go on.
    """

    model: Any  #: a transformers causal LM
    pad_id: int
    end_ids: tuple[int, ...]
    rounds: int = 1

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        completions: list[list[int]] = [[] for _ in prompts]
        unfinished = list(range(len(prompts)))
        left, part = sampling.max_tokens, -(-sampling.max_tokens // self.rounds)
        while unfinished and left > 0:
            texts = [[*prompts[row], *completions[row]] for row in unfinished]
            for row, ids in zip(unfinished, self._generate(texts, replace(sampling, max_tokens=min(part, left))), strict=True):
                completions[row] += ids
            unfinished = [row for row in unfinished if completions[row][-1] not in self.end_ids]
            left -= part
        return completions

    @torch.no_grad()
    def _generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        width = max(map(len, prompts))
        ids = torch.tensor([[self.pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        chosen = {"do_sample": False} if sampling.temperature == 0 else {
            "do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k
        }  # fmt: skip
        config = GenerationConfig(max_new_tokens=sampling.max_tokens, pad_token_id=self.pad_id, eos_token_id=list(self.end_ids), **chosen)
        training, own = self.model.training, self.model.generation_config
        self.model.eval()
        # What `config` leaves open, generate takes from the model's own: a checkpoint's repetition_penalty or min_p would sample from another
        # distribution than the one whose log-probs the loss uses.
        self.model.generation_config = config
        try:
            device = self.model.device
            output: Any = self.model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config)
        finally:
            self.model.generation_config = own
            self.model.train(training)
        return [self._cut(row) for row in output[:, width:].tolist()]

    def _cut(self, row: list[int]) -> list[int]:
        """Up to and including the first end token."""
        for position, token in enumerate(row):
            if token in self.end_ids:
                return row[: position + 1]
        return row


def end_ids(model: PreTrainedModel, fallback: int) -> tuple[int, ...]:
    """The model's end tokens: chat models have several."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        return (fallback,)
    return tuple(ids) if isinstance(ids, (list, tuple)) else (ids,)

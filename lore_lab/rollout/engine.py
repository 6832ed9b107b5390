"""Generation behind one interface: token ids in, token ids out. RL, evaluation and pass@k all go through it.

The in-process engine is transformers' own generate; others implement `Engine`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Log-probability (nats, temperature 1) of each of a prompt's choices to come next; a choice has a token at least."""
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
        ids, mask = self._padded(prompts)
        chosen = {"do_sample": False} if sampling.temperature == 0 else {
            "do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k
        }  # fmt: skip
        config = GenerationConfig(max_new_tokens=sampling.max_tokens, pad_token_id=self.pad_id, eos_token_id=list(self.end_ids), **chosen)
        own = self.model.generation_config
        # What `config` leaves open, generate takes from the model's own: a checkpoint's repetition_penalty or min_p would sample from another
        # distribution than the one whose log-probs the loss uses.
        self.model.generation_config = config
        try:
            with self._evaluating():
                output: Any = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        finally:
            self.model.generation_config = own
        return [self._cut(row) for row in output[:, ids.shape[1] :].tolist()]

    @torch.no_grad()
    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        # One forward pass. Choices that differ in their last token only, as labels do, share a row of it.
        rows: dict[tuple[int, ...], int] = {}
        for prompt, own in zip(prompts, choices, strict=True):
            for choice in own:
                rows.setdefault((*prompt, *choice[:-1]), len(rows))
        ids, mask = self._padded(list(rows))
        longest = max(len(choice) for own in choices for choice in own)
        with self._evaluating():
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            logits = self.model(input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=longest).logits
        found = logits.float().log_softmax(-1)

        def one(prompt: Sequence[int], choice: Sequence[int]) -> float:
            row = rows[(*prompt, *choice[:-1])]
            return sum(float(found[row, longest - len(choice) + place, token]) for place, token in enumerate(choice))

        return [[one(prompt, choice) for choice in own] for prompt, own in zip(prompts, choices, strict=True)]

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, mask), both (prompts, longest), padded on the left, on the model's device."""
        width = max(map(len, prompts))
        ids = [[self.pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """The model in evaluation mode, and back as it was."""
        training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(training)

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

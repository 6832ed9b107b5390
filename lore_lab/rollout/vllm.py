"""What vLLM engines share: seeds a request, scores from prompt log-probs, and the check that an engine holds the weights it should.

A seed a request comes from torch's global generator: a run's seed reaches the engine, a probe's forked stream does not disturb it, and a
checkpoint's random state goes on. vLLM's own seed (TRL's colocate mode fixes it to the process number) decides nothing then.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from lore_lab.rollout.engine import Engine, Sampling, TransformersEngine, within

CHECKED = 4  #: prompts a fresh engine is compared with transformers on
CHECKED_TOKENS = 8  #: tokens of each prompt, and of its completion at most


def correction(rollout: Any) -> dict[str, Any]:
    """TRL's arguments for the loss's weights p_trainer / p_engine."""
    chosen = rollout.correction != "none"
    mode = {"vllm_importance_sampling_mode": rollout.correction} if chosen else {}
    clip = {"vllm_importance_sampling_clip_min": None, "vllm_importance_sampling_clip_max": rollout.correction_max}
    return {"vllm_importance_sampling_correction": chosen} | mode | clip


class Request(NamedTuple):
    """One prompt. seed: None for greedy. scored: the prompt's own log-probs are wanted too, and no completion."""

    prompt: list[int]
    sampling: Sampling
    seed: int | None = None
    scored: bool = False


class Reply(NamedTuple):
    """completion, and log_probs of its tokens; of a scored request instead of the prompt's tokens, whose first has none."""

    completion: list[int]
    log_probs: list[float]


class VllmEngine(Engine):
    """ends: end tokens."""

    bound: float

    def __init__(self, ends: tuple[int, ...], bound: float) -> None:
        self.ends, self.bound = ends, bound
        self.trainer: Any = None  #: RL: whose weights the engine follows

    @abstractmethod
    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """The engine's replies, in order."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        return self.sample(prompts, sampling)[0]

    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> tuple[list[list[int]], list[list[float]]]:
        seeds: list[int | None] = [None] * len(prompts)
        if sampling.temperature > 0:
            seeds = list(torch.randint(2**31, (len(prompts),)).tolist())
        self._follow()
        replies = self.answer([Request(list(prompt), sampling, seed) for prompt, seed in zip(prompts, seeds, strict=True)])
        return [reply.completion for reply in replies], [reply.log_probs for reply in replies]

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        self._follow()
        one = Sampling(0.0, 1)
        requests = [
            Request([*prompt, *choice], one, scored=True) for prompt, own in zip(prompts, choices, strict=True) for choice in own
        ]  # fmt: skip
        replies = iter(self.answer(requests))
        return [[sum(next(replies).log_probs[len(prompt) - 1 :]) for _ in own] for prompt, own in zip(prompts, choices, strict=True)]

    def _follow(self) -> None:
        """The weights of the trainer's present step, where there is a trainer. TRL does the same before each rollout, and by the same tag."""
        trainer = self.trainer
        if trainer is not None and trainer.state.global_step != trainer._last_loaded_step:
            trainer.vllm_generation.sync_weights()
            trainer._last_loaded_step = trainer.state.global_step

    def check(self, model: Any, pad_id: int) -> float:
        """Mean |log-prob a token - transformers'| of completions of a few prompts of any tokens. Raises WeightsError above the bound."""
        vocabulary = model.config.vocab_size
        prompts = [[(31 * row + 7 * place) % vocabulary for place in range(CHECKED_TOKENS)] for row in range(1, CHECKED + 1)]
        completions, log_probs = self.sample(prompts, Sampling(1.0, CHECKED_TOKENS))
        reference = TransformersEngine(model, pad_id, self.ends)
        expected = reference.score(prompts, [[completion] for completion in completions])
        gaps = [abs(sum(found) - wanted) / len(found) for found, (wanted,) in zip(log_probs, expected, strict=True)]
        return within(sum(gaps) / len(gaps), self.bound)

"""A policy as a scorer of pairs: label probabilities, and what they cost in tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lore_lab.evaluate.probabilities import label_choices
from lore_lab.prompts.formats import ResponseFormat
from lore_lab.prompts.reading import read_completion
from lore_lab.rollout.engine import Engine, Sampling


@dataclass(frozen=True)
class Answers:
    """probabilities: (n, grades), a row of nan where the policy gave no valid answer. tokens: (n,) tokens that went through the model."""

    probabilities: np.ndarray
    tokens: np.ndarray


@dataclass(frozen=True)
class LabelJudge:
    """Where the label comes first, one forward pass a pair reads its probabilities at the end of the prompt. Where it follows reasoning,
    the greedy reasoning is written first and one more pass reads them at its end, as `evaluate.probabilities` does."""

    engine: Engine
    tokenizer: Any
    ends: Sequence[int]
    layout: ResponseFormat
    max_tokens: int  #: of a completion
    batch_size: int

    def answers(self, prompts: Sequence[Sequence[int]], report: Callable[[int, int, str], None] = lambda *_: None) -> Answers:
        """Answers to rendered prompts, in their order."""
        probabilities, tokens = np.full((len(prompts), self.layout.grades), np.nan), np.zeros(len(prompts), dtype=np.int64)
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))  # like lengths share a batch
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            written, tokens[batch] = self._written([prompts[place] for place in batch])
            scored = [
                (place, *label_choices(text, self.tokenizer, self.layout))
                for place, text in zip(batch, written, strict=True)
                if text is not None
            ]
            if scored:
                texts = [[*prompts[place], *shared] for place, shared, _ in scored]
                places = [place for place, *_ in scored]
                scores = np.array(self.engine.score(texts, [choices for *_, choices in scored]))
                likelihood = np.exp(scores - scores.max(axis=1, keepdims=True))
                probabilities[places] = likelihood / likelihood.sum(axis=1, keepdims=True)
                tokens[places] += [len(text) for text in texts]
            report(start + len(batch), len(order), "pairs judged")
        return Answers(probabilities, tokens)

    def _written(self, prompts: Sequence[Sequence[int]]) -> tuple[list[str | None], np.ndarray]:
        """(what stands before each label, None after an invalid completion; tokens read and written to get there)."""
        if self.layout.answer_first:
            return [""] * len(prompts), np.zeros(len(prompts), dtype=np.int64)
        completions = self.engine.generate(prompts, Sampling(0.0, self.max_tokens))
        readings = [read_completion(ids, self.tokenizer, self.ends, self.layout) for ids in completions]
        texts = [None if parsed.grade is None else self.layout.before_label(text) for text, parsed in readings]
        return texts, np.array([len(prompt) + len(ids) for prompt, ids in zip(prompts, completions, strict=True)])

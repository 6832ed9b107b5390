"""Generation behind one interface: token ids in, token ids out. RL, evaluation and pass@k all go through it.

The default engine is transformers' own generate; `lore_lab.rollout.choose` makes the one the config asks for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from lore_lab.prompts.images import extend, image_of, pixels
from lore_lab.rollout.prefix import common_beginning, different, prefilled, shareable


@dataclass(frozen=True)
class Sampling:
    """temperature 0 is greedy. top_k 0 and top_p 1 are off. max_tokens: completion length at most, the end token included."""

    temperature: float
    max_tokens: int
    top_p: float = 1.0
    top_k: int = 0


class WeightsError(RuntimeError):
    """The engine's log-probs are not those of the policy: it holds other weights, or computes otherwise."""


class Engine(ABC):
    """A prompt is a sequence of token ids; one that shows an image is an `ImagePrompt`, of which only transformers' engine knows.

    Randomness of every engine comes from torch's global generator, so that a seed or a checkpoint's random state reaches it.
    """

    #: what TRL's GRPOConfig is told of this engine
    arguments: Mapping[str, Any] = {"use_vllm": False}
    #: None: samples with the trainer's own model. Else a bound on the mean |log-prob - the trainer's| a token, nats
    bound: float | None = None

    @abstractmethod
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        """One completion a prompt. A completion that ended by itself ends with an end token; any other was cut by the limit."""

    @abstractmethod
    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> tuple[list[list[int]], list[list[float]] | None]:
        """The same, and the log-probability (nats) of every token at the sampling temperature; None where they are not at hand.

        The trainer's own model: before top_k and top_p cut anything, as the loss has them. An engine with a bound: as it sampled.
        """

    def beams(self, prompts: Sequence[Sequence[int]], width: int, max_tokens: int) -> list[list[list[int]]]:
        """The `width` completions of a beam search a prompt, the most probable first; cut and ended as those of `generate`."""
        raise NotImplementedError(f"{type(self).__name__} searches no beams")

    @abstractmethod
    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Log-probability (nats, temperature 1) of each of a prompt's choices to come next; a choice has a token at least."""

    def attach(self, trainer: Any) -> None:  # noqa: B027  an engine on the live model has nothing to do
        """From here on generate with the weights `trainer` has at each call."""


class _Recorder(LogitsProcessor):
    """Log-probs of the tokens that were chosen, taken along while generating: a step's are known when the next one begins."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self.chosen: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.finish(input_ids)
        self._last = (scores / self.temperature).log_softmax(-1)
        return scores

    def finish(self, ids: torch.Tensor) -> None:
        """ids: (B, T), the last column the tokens drawn from the last scores."""
        if self._last is not None:
            self.chosen.append(self._last.gather(1, ids[:, -1:]))


@dataclass
class TransformersEngine(Engine):
    """transformers' generate on the live model, randomness from torch's global generator of the model's device.

    rounds: equal parts of the length limit. A batch runs until its longest completion ends; after each part only the unfinished rows go on.
    prompts_once: equal prompts of a batch go through the model once, all but their last token, and so does what all of them begin with.
    """

    model: Any  #: a transformers causal LM
    pad_id: int
    end_ids: tuple[int, ...]
    rounds: int = 1
    prompts_once: bool = True

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        return self._draw(prompts, sampling, None)[0]

    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> tuple[list[list[int]], list[list[float]]]:
        return self._draw(prompts, sampling, sampling.temperature or 1.0)

    @torch.no_grad()
    def beams(self, prompts: Sequence[Sequence[int]], width: int, max_tokens: int) -> list[list[list[int]]]:
        ids, mask, images = self._inputs(prompts)
        # Without a length penalty the order is that of the completions' own probabilities.
        config = GenerationConfig(
            max_new_tokens=max_tokens, pad_token_id=self.pad_id, eos_token_id=list(self.end_ids), do_sample=False, num_beams=width,
            num_return_sequences=width, length_penalty=0.0, early_stopping=False,
        )  # fmt: skip
        with self._evaluating(), self._own_settings_off():
            output: Any = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config, **images)
        rows = [self._cut(row) for row in output[:, ids.shape[1] :].tolist()]
        return [rows[start : start + width] for start in range(0, len(rows), width)]

    @torch.no_grad()
    def _draw(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, scored: float | None
    ) -> tuple[list[list[int]], list[list[float]]]:
        """scored: temperature of the log-probs wanted; None: none."""
        completions: list[list[int]] = [[] for _ in prompts]
        log_probs: list[list[float]] = [[] for _ in prompts]
        rows, left, part = list(range(len(prompts))), sampling.max_tokens, -(-sampling.max_tokens // self.rounds)
        with self._evaluating(), self._own_settings_off():
            begun = self._begun(prompts, left=2)
            ids, mask, images = self._inputs(prompts, begun)
            cache = self._prompts_cache(prompts, ids, mask, images, begun)
            while rows and left > 0:
                recorder = _Recorder(scored) if scored else None
                output = self._generate(ids, mask, cache, images, sampling, min(part, left), recorder)
                fresh = output.sequences[:, ids.shape[1] :]
                found = torch.cat(recorder.chosen, 1).tolist() if recorder else [[]] * len(rows)
                unfinished = []
                for place, (row, drawn, values) in enumerate(zip(rows, map(self._cut, fresh.tolist()), found, strict=True)):
                    completions[row] += drawn
                    log_probs[row] += values[: len(drawn)]
                    if drawn[-1] not in self.end_ids:
                        unfinished.append(place)
                rows, left = [rows[place] for place in unfinished], left - part
                if rows and left > 0:
                    kept = torch.tensor(unfinished, device=ids.device)
                    ids, cache = output.sequences[kept], output.past_key_values
                    mask = torch.cat([mask[kept], mask.new_ones(len(rows), fresh.shape[1])], 1)
                    cache.batch_select_indices(kept)
        return completions, log_probs

    def _prompts_cache(
        self, prompts: Sequence[Sequence[int]], ids: torch.Tensor, mask: torch.Tensor, images: dict[str, torch.Tensor], begun: int
    ) -> DynamicCache | None:
        """Keys and values of all prompt tokens but the last, different prompts computed once; None: leave it to generate."""
        if not self.prompts_once or ids.shape[1] < 2 or not shareable(self.model):
            return None
        head, shown = ids[:, :-1], mask[:, :-1]
        first, which = different(self._told_apart(prompts, head), shown)
        if len(first) == len(ids) and not begun:
            return None
        seen = {name: tensor[first] for name, tensor in images.items()}
        cache = prefilled(
            self.model, head[first, begun:], shown[first], self._beginning(ids, begun, len(first)), position_ids=_positions(shown[first])[:, begun:], **seen
        )  # fmt: skip
        cache.batch_select_indices(which)
        return cache

    def _begun(self, rows: Sequence[Sequence[int]], left: int) -> int:
        """Tokens that all rows begin with and that go through the model once; `left` of each do not."""
        if not self.prompts_once or self._image_token is not None or not shareable(self.model):
            return 0
        return common_beginning(rows, left)

    def _beginning(self, ids: torch.Tensor, begun: int, rows: int) -> DynamicCache | None:
        """Keys and values of the first `begun` columns, computed for one row, for so many rows; None where that is nothing."""
        if not begun:
            return None
        cache = prefilled(self.model, ids[:1, :begun], torch.ones_like(ids[:1, :begun]))
        cache.batch_repeat_interleave(rows)
        return cache

    def _told_apart(self, prompts: Sequence[Sequence[int]], ids: torch.Tensor) -> torch.Tensor:
        """`ids` with a number of its own in the place of each image's tokens: the same words about two images are two texts."""
        if self._image_token is None:
            return ids
        numbers = {key: -2 - place for place, key in enumerate(dict.fromkeys(id(image_of(prompt)) for prompt in prompts))}
        own = torch.tensor([[numbers[id(image_of(prompt))]] for prompt in prompts], device=ids.device)
        return torch.where(ids == self._image_token, own, ids)

    def _generate(
        self, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache | None, images: dict[str, torch.Tensor], sampling: Sampling, tokens: int,
        recorder: _Recorder | None,
    ) -> Any:  # fmt: skip
        """generate's output, its cache included; what is in `cache`, images too, is not computed again."""
        chosen = {"do_sample": False} if sampling.temperature == 0 else {
            "do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k
        }  # fmt: skip
        # An image token in a completion would stand for an image that is not there.
        unspoken = [self._image_token] if self._image_token is not None else None
        config = GenerationConfig(
            max_new_tokens=tokens, pad_token_id=self.pad_id, eos_token_id=list(self.end_ids), return_dict_in_generate=True,
            suppress_tokens=unspoken, **chosen
        )  # fmt: skip
        processors = LogitsProcessorList([recorder] if recorder else [])
        output: Any = self.model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=cache, generation_config=config, logits_processor=processors,
            **(images if cache is None else {})
        )  # fmt: skip
        if recorder:
            recorder.finish(output.sequences)
        return output

    @contextmanager
    def _own_settings_off(self) -> Iterator[None]:
        """The model without its own generation settings: what ours leave open, generate takes from there, and a checkpoint's
        repetition_penalty or min_p would sample from another distribution than the one whose log-probs the loss uses."""
        own = self.model.generation_config
        self.model.generation_config = GenerationConfig(pad_token_id=self.pad_id, eos_token_id=list(self.end_ids))
        try:
            yield
        finally:
            self.model.generation_config = own

    @torch.no_grad()
    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        # One forward pass. Choices that differ in their last token only, as labels do, share a row of it.
        texts: dict[tuple[int, ...], list[int]] = {}
        for prompt, own in zip(prompts, choices, strict=True):
            for choice in own:
                texts.setdefault(_row(prompt, choice), extend(prompt, choice[:-1]))
        rows = {row: place for place, row in enumerate(texts)}
        longest = max(len(choice) for own in choices for choice in own)
        begun = self._begun(list(texts.values()), left=longest)
        ids, mask, images = self._inputs(list(texts.values()), begun)
        with self._evaluating():
            logits = self.model(
                input_ids=ids[:, begun:], attention_mask=mask, position_ids=_positions(mask)[:, begun:], logits_to_keep=longest,
                past_key_values=self._beginning(ids, begun, len(ids)), **images
            ).logits  # fmt: skip
        found = logits.float().log_softmax(-1)

        def one(prompt: Sequence[int], choice: Sequence[int]) -> float:
            row = rows[_row(prompt, choice)]
            return sum(float(found[row, longest - len(choice) + place, token]) for place, token in enumerate(choice))

        return [[one(prompt, choice) for choice in own] for prompt, own in zip(prompts, choices, strict=True)]

    @property
    def _image_token(self) -> int | None:
        """What stands for images in the model's prompts; None for a model that sees none."""
        return getattr(self.model.config, "image_token_id", None)

    def _inputs(self, prompts: Sequence[Sequence[int]], begun: int = 0) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """(ids, mask, images) on the model's device: ids and mask (prompts, longest), padded on the left, behind the first `begun` tokens;
        images is empty, or pixel_values (prompts, 3, side, side) where the prompts show images."""
        width = max(map(len, prompts))
        ids = [[*prompt[:begun], *[self.pad_id] * (width - len(prompt)), *prompt[begun:]] for prompt in prompts]
        mask = [[1] * begun + [0] * (width - len(prompt)) + [1] * (len(prompt) - begun) for prompt in prompts]
        seen = [image for prompt in prompts if (image := image_of(prompt)) is not None]
        images = {"pixel_values": torch.from_numpy(pixels(seen)).to(self.model.device)} if seen else {}
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device), images

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


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Places of tokens in their own rows, as generate numbers them; padding does not count. mask: (B, T)."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _row(prompt: Sequence[int], choice: Sequence[int]) -> tuple[int, ...]:
    """What the forward pass of a choice's last token reads: the same for two choices that can share it."""
    return (id(image_of(prompt)), *prompt, *choice[:-1])


def end_ids(model: PreTrainedModel, fallback: int) -> tuple[int, ...]:
    """The model's end tokens: chat models have several."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        return (fallback,)
    return tuple(ids) if isinstance(ids, (list, tuple)) else (ids,)


def within(difference: float, bound: float) -> float:
    """`difference` where it is at most `bound`. Raises WeightsError otherwise."""
    if difference <= bound:
        return difference
    raise WeightsError(
        f"the rollout engine's log-probs are {difference:.3g} nats a token from the trainer's, more than rollout.max_logp_difference={bound}: its weights "
        "are stale or its arithmetic differs. Completions it samples are not the policy's; docs/rollouts.md says what to look at"
    )

"""The embedded vision-language model: what it shows counts, whatever the batch, and a micro model learns to look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import set_seed

from lore_lab.config.schema import Config
from lore_lab.prompts.images import IMAGE, ImagePrompt, extend, image_of, image_tokens, pixels
from lore_lab.rollout.engine import Sampling, TransformersEngine
from lore_lab.train.attention import NAME
from lore_lab.train.base import make_model, train_tokenizer
from lore_lab.train.common import load_policy, save_policy
from lore_lab.train.images import ImageCollator
from lore_lab.train.sft import train_sft
from lore_lab.train.vision import add_vision, caption_rows
from tests.train.lab import config

SIDE = 16
TOWER = (
    "rl=off", "model.vision.enabled=true", f"model.vision.image_size={SIDE}", "model.vision.patch_size=8", "model.vision.hidden_size=16",
    "model.vision.intermediate_size=16", "model.vision.num_hidden_layers=1", "model.vision.num_attention_heads=2",
)  # fmt: skip


def settings(*words: str) -> Config:
    return config(*TOWER, *words)


def tokenizer() -> Any:
    return train_tokenizer(["query: red dress title: blue belt caption: a red dress answer: 1 2 3 4\n"] * 4, 300)


class Seeing:
    """A random model with a tower, its tokenizer, and prompts about random images."""

    def __init__(self) -> None:
        self.config = settings()
        self.tokenizer = tokenizer()
        set_seed(7)
        self.language = make_model(self.config.model, self.tokenizer)
        with torch.no_grad():
            self.spoken = self.language(torch.tensor([WORDS[0]])).logits
        self.model: Any = add_vision(self.config.model.vision, self.language, self.tokenizer).eval()
        self.image_id = self.tokenizer.convert_tokens_to_ids(IMAGE)
        self.engine = TransformersEngine(self.model, self.tokenizer.pad_token_id, (self.tokenizer.eos_token_id,))

    def prompt(self, words: Sequence[int], image: np.ndarray) -> ImagePrompt:
        return ImagePrompt([*image_tokens(self.model.config), *words], image)

    def prompts(self) -> list[list[int]]:
        return [self.prompt(words, picture(number)) for number, words in enumerate(WORDS)]

    def alone(self, prompt: ImagePrompt, more: Sequence[int] = ()) -> torch.Tensor:
        """Logits of a pass without padding."""
        with torch.no_grad():
            return self.model(
                input_ids=torch.tensor([[*prompt, *more]]), pixel_values=torch.from_numpy(pixels([prompt.image]))
            ).logits[0]  # fmt: skip


WORDS = [[20, 21, 22, 23, 24], [25], [20, 21, 22], [26, 27, 28, 29, 30, 31, 32, 33]]


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def seeing() -> Seeing:
    return Seeing()


def test_the_language_model_keeps_its_weights_and_needs_no_image(seeing: Seeing) -> None:
    with torch.no_grad():
        found = seeing.model(input_ids=torch.tensor([WORDS[0]])).logits
    torch.testing.assert_close(found[..., : seeing.spoken.shape[-1]], seeing.spoken)
    assert found.shape[-1] == seeing.spoken.shape[-1] + 1


@pytest.mark.parametrize("attention", ["eager", NAME])
def test_it_attends_as_the_config_says_and_sees_the_same(seeing: Seeing, attention: str, tmp_path: Path) -> None:
    set_seed(7)
    model: Any = add_vision(
        seeing.config.model.vision, make_model(settings(f"model.attention={attention}").model, tokenizer()), tokenizer()
    ).eval()
    assert {part.config._attn_implementation for part in (model, model.model.language_model, model.model.vision_tower)} == {attention}
    model.load_state_dict(seeing.model.state_dict())
    prompt = seeing.prompt(WORDS[0], picture(0))
    with torch.no_grad():
        found = model(input_ids=torch.tensor([prompt]), pixel_values=torch.from_numpy(pixels([prompt.image]))).logits[0]
    torch.testing.assert_close(found, seeing.alone(prompt))
    save_policy(model, seeing.tokenizer, tmp_path)
    assert load_policy(tmp_path, "cpu")[0].config._attn_implementation == attention


def test_a_saved_policy_comes_back_as_it_was(seeing: Seeing, tmp_path: Path) -> None:
    save_policy(seeing.model, seeing.tokenizer, tmp_path)
    model, loaded = load_policy(tmp_path, "cpu")
    prompt = seeing.prompt(WORDS[0], picture(0))
    with torch.no_grad():
        found = model(input_ids=torch.tensor([prompt]), pixel_values=torch.from_numpy(pixels([prompt.image]))).logits[0]
    torch.testing.assert_close(found, seeing.alone(prompt))
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    assert loaded.convert_tokens_to_ids(IMAGE) == seeing.image_id in loaded.all_special_ids
    assert seeing.image_id not in loaded.encode(f"a {IMAGE}", add_special_tokens=False, split_special_tokens=True)


def test_another_image_gives_other_logits_and_the_same_image_the_same(seeing: Seeing) -> None:
    first = seeing.alone(seeing.prompt(WORDS[0], picture(0)))
    again = seeing.alone(seeing.prompt(WORDS[0], picture(0).copy()))
    other = seeing.alone(seeing.prompt(WORDS[0], picture(1)))
    assert torch.equal(first, again)
    assert (first[-1] - other[-1]).abs().max() > 1e-3


def test_a_batch_scores_each_prompt_as_it_scores_alone_also_where_only_the_images_differ(seeing: Seeing) -> None:
    prompts = [*seeing.prompts(), seeing.prompt(WORDS[0], picture(9))]
    choices = [[[40, 41], [42], [43]]] * len(prompts)
    found = seeing.engine.score(prompts, choices)
    for prompt, scores in zip(prompts, found, strict=True):
        expected = []
        for choice in choices[0]:
            steps = seeing.alone(prompt, choice).log_softmax(-1)[len(prompt) - 1 : -1]  # type: ignore[arg-type]
            expected.append(float(sum(step[token] for step, token in zip(steps, choice, strict=True))))
        assert scores == pytest.approx(expected, abs=1e-4)
    assert abs(found[0][1] - found[-1][1]) > 1e-3


@pytest.mark.parametrize(("rounds", "once"), [(1, False), (1, True), (3, True)])
def test_greedy_completions_of_a_batch_are_those_of_each_prompt_alone(seeing: Seeing, rounds: int, once: bool) -> None:
    """Equal prompts are computed once where `once`; equal words about another image are not equal prompts."""
    engine = TransformersEngine(seeing.model, seeing.tokenizer.pad_token_id, (seeing.tokenizer.eos_token_id,), rounds, once)
    prompts = [*seeing.prompts(), seeing.prompt(WORDS[0], picture(9))]
    prompts += [prompts[2], prompts[0]]
    batch, log_probs = engine.sample(prompts, Sampling(0.0, 9))
    assert batch == [seeing.engine.generate([prompt], Sampling(0.0, 9))[0] for prompt in prompts]
    for prompt, row, own in zip(prompts, batch, log_probs, strict=True):
        logits = seeing.alone(prompt, row)[len(prompt) - 1 : -1]  # type: ignore[arg-type]
        logits[:, seeing.image_id] = -torch.inf
        assert logits.argmax(-1).tolist() == row
        assert own == pytest.approx(logits.log_softmax(-1).max(-1).values.tolist(), abs=1e-4)
    assert abs(log_probs[0][0] - log_probs[4][0]) > 1e-3, "the image makes no difference, so nothing is tested"


def test_a_completion_holds_no_image_token_however_likely_it_is(seeing: Seeing) -> None:
    prompt = seeing.prompt(WORDS[0], picture(0))
    row = seeing.model.lm_head.weight[seeing.image_id]
    with torch.no_grad():
        before = row.clone()
        row += 50 * seeing.model.model(
            input_ids=torch.tensor([prompt]), pixel_values=torch.from_numpy(pixels([prompt.image]))
        ).last_hidden_state[0, -1]  # fmt: skip
    try:
        assert seeing.alone(prompt)[-1].argmax() == seeing.image_id
        engine = TransformersEngine(seeing.model, 0, (seeing.tokenizer.eos_token_id,), 4)
        assert seeing.image_id not in engine.generate([prompt], Sampling(0.0, 8))[0]
    finally:
        with torch.no_grad():
            row.copy_(before)


def test_each_row_of_a_batch_has_its_own_image() -> None:
    images = [picture(number) for number in range(4)]
    rows = [{"input_ids": [number] * (number + 1), "labels": [number] * (number + 1), "picture": number} for number in (2, 0, 3)]
    batch = ImageCollator(0, images=images)(rows)
    assert batch["input_ids"][:, 0].tolist() == [2, 0, 3]
    assert torch.equal(batch["pixel_values"], torch.from_numpy(pixels([images[2], images[0], images[3]])))


def test_captions_are_the_targets_of_images_alone(seeing: Seeing) -> None:
    prompts, targets = caption_rows(seeing.model, seeing.tokenizer, [(Image.new("RGB", (64, 64), (255, 0, 0)), "a red dress")])
    assert prompts == [image_tokens(seeing.model.config)]
    assert image_of(prompts[0])[:, 3, 3].tolist() == [255, 0, 0]  # type: ignore[index]
    assert seeing.tokenizer.decode(targets[0]) == "caption: a red dress<|end|>"


COLOURS = {"red": (200, 40, 45), "blue": (45, 85, 190), "green": (45, 140, 75)}


def block(colour: Sequence[int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, dtype=np.uint8)[:, None, None], (3, SIDE, SIDE)).copy()


def test_a_micro_model_learns_to_look(tmp_path: Path) -> None:
    """The words never tell the colour, so whoever answers right has looked. Trained through the stage's own path, rows grouped by length."""
    own = settings(
        "sft.max_steps=40", "sft.per_device_train_batch_size=12", "sft.learning_rate=1e-2", "compute.length_buckets=2", "model.hidden_size=32",
    )  # fmt: skip
    learner = Seeing.__new__(Seeing)
    learner.config, learner.tokenizer = own, tokenizer()
    set_seed(3)
    learner.model = add_vision(own.model.vision, make_model(own.model, learner.tokenizer), learner.tokenizer)
    end = learner.tokenizer.eos_token_id
    answers = dict(zip(COLOURS, ([50, end], [51, 52, end], [53, end]), strict=True))
    questions = [WORDS[number % 4] for number in range(24)]
    shown = [list(COLOURS)[number % 3] for number in range(24)]
    prompts: list[list[int]] = [learner.prompt(words, block(COLOURS[name])) for words, name in zip(questions, shown, strict=True)]
    train_sft(
        own.sft, 0, own.compute, learner.model, learner.tokenizer, prompts, [answers[name] for name in shown], tmp_path,
        lambda step, metrics: None, lambda done, total, text: None,
    )  # fmt: skip
    engine = TransformersEngine(learner.model, learner.tokenizer.pad_token_id, (end,))
    assert engine.generate(prompts, Sampling(0.0, 4)) == [answers[name] for name in shown]
    red, blue = (learner.prompt(WORDS[1], block(COLOURS[name])) for name in ("red", "blue"))
    right, wrong, blank = engine.score([red, blue, learner.prompt(WORDS[1], block((236, 236, 232)))], [[answers["red"]]] * 3)
    assert right[0] > wrong[0] + 1
    assert abs(right[0] - blank[0]) > 0.01


def test_prompts_that_mix_images_and_words_alone_are_refused(seeing: Seeing, tmp_path: Path) -> None:
    prompts: list[list[int]] = [seeing.prompt(WORDS[0], picture(0)), WORDS[1]]
    with pytest.raises(ValueError, match="1 of 2 prompts show an image"):
        train_sft(
            seeing.config.sft, 0, seeing.config.compute, seeing.model, seeing.tokenizer, prompts, [[50]] * 2, tmp_path, print, print  # type: ignore[arg-type]
        )  # fmt: skip


def test_extend_and_the_engine_take_prompts_without_images(seeing: Seeing) -> None:
    """A model that sees judges words alone too, as its control does."""
    words = extend(WORDS[0], [40])
    assert seeing.engine.generate([words], Sampling(0.0, 2)) == seeing.engine.generate([words, words], Sampling(0.0, 2))[:1]


def test_the_tower_has_the_configured_size(seeing: Seeing) -> None:
    tower = seeing.model.config.vision_config
    assert (tower.image_size, tower.patch_size, tower.hidden_size, tower.num_hidden_layers) == (SIDE, 8, 16, 1)
    assert image_tokens(seeing.model.config) == [seeing.image_id] * 4
    assert image_tokens(SimpleNamespace(image_token_id=5, image_seq_length=2)) == [5, 5]

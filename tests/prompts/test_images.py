"""A prompt that begins with an image: inside the budget, the image's tokens and no others, and it stays with the prompt as the prompt grows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lore_lab.config.schema import FeaturesConfig, PromptConfig
from lore_lab.data.example import Example
from lore_lab.prompts.images import IMAGE, ImagePrompt, ImageRenderer, extend, image_of, pixels, raster
from lore_lab.prompts.render import PromptTooLong, Renderer
from tests.prompts.test_render import GRADES, byte_tokenizer

PATCHES = 9
BYTES = byte_tokenizer()
BYTES.add_special_tokens({"extra_special_tokens": [IMAGE, "[TOOL_CALLS]"]})
SIGHT = SimpleNamespace(
    image_token_id=BYTES.convert_tokens_to_ids(IMAGE), image_seq_length=PATCHES, vision_config=SimpleNamespace(image_size=12)
)


def draw(example_id: str) -> Image.Image:
    return Image.new("RGB", (12, 12), (255, 0, 0) if example_id == "train-0" else (0, 0, 255))


def renderer(max_tokens: int) -> ImageRenderer:
    features = FeaturesConfig(fields=["title", "description"], query_fields=[], image=True)
    return ImageRenderer(
        BYTES, features, PromptConfig(template="bare", examples=0, max_tokens=max_tokens), GRADES, True, sight=SIGHT, draw=draw
    )


def example(title: str = "shoe", query: str = "red shoe", name: str = "train-0", description: str = "") -> Example:
    return Example(name, "q", "i", query, {"title": title, "description": description}, label=0, gold=0, difficulty=0.5)


def test_a_prompt_is_the_images_tokens_then_the_words_and_holds_the_items_own_image() -> None:
    prompt = renderer(100).ids(example())
    assert prompt[:PATCHES] == [SIGHT.image_token_id] * PATCHES
    assert BYTES.decode(prompt[PATCHES:]) == "query: red shoe\ntitle: shoe\njudge:\n"
    other = renderer(100).ids(example(name="train-1"))
    assert other == prompt
    assert image_of(prompt)[:, 0, 0].tolist() == [255, 0, 0]  # type: ignore[index]
    assert image_of(other)[:, 0, 0].tolist() == [0, 0, 255]  # type: ignore[index]


@pytest.mark.parametrize("budget", [46, 50, 55, 70])
def test_the_image_counts_against_the_budget(budget: int) -> None:
    subject = example(description="one two three four five six seven eight nine ten")
    words = Renderer(BYTES, renderer(0).features, PromptConfig(template="bare", examples=0, max_tokens=budget - PATCHES), GRADES, True)
    assert renderer(budget).ids(subject) == [SIGHT.image_token_id] * PATCHES + words.ids(subject)
    assert words.report()["cut/description"] == 1


def test_a_budget_the_image_leaves_no_room_in_is_refused() -> None:
    need = len("query: red shoe\njudge:\n")
    assert renderer(need + PATCHES).ids(example("")).count(SIGHT.image_token_id) == PATCHES
    with pytest.raises(PromptTooLong):
        renderer(need + PATCHES - 1).ids(example(""))


@pytest.mark.parametrize("text", [IMAGE, f"a {IMAGE * 3} b", "<|im<|image|>age|>", "<|image |>", "[TOOL_[TOOL_CALLS]CALLS]", "＜|image|＞"])
@pytest.mark.parametrize("place", ["title", "query", "description"])
def test_no_text_can_write_an_image_token(text: str, place: str) -> None:
    prompt = renderer(300).ids(example(**{place: text}))
    special = [token for token in prompt if token in BYTES.all_special_ids]
    assert special == [SIGHT.image_token_id] * PATCHES == prompt[:PATCHES]


def test_a_prompt_that_grows_shows_what_it_showed_and_words_alone_stay_a_list() -> None:
    image = raster(draw("train-0"), 12)
    grown = extend(ImagePrompt([1, 2], image), [3])
    assert grown == [1, 2, 3]
    assert image_of(grown) is image
    assert type(extend([1, 2], [3])) is list
    assert image_of(extend((1, 2), (3,))) is None


def test_pixels_are_channels_first_from_minus_one_to_one() -> None:
    shown = pixels([raster(draw("train-0"), 12), raster(Image.new("RGB", (64, 64), (0, 255, 255)), 12)])
    assert shown.shape == (2, 3, 12, 12)
    assert shown.dtype == np.float32
    assert shown[:, :, 5, 7].tolist() == [[1, -1, -1], [-1, 1, 1]]

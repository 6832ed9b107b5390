"""Prompts that begin with the item's image. To everything that moves prompts around they are lists of token ids like any other.

An image stands in a prompt as `patches` image tokens, whose embeddings the model replaces by what its vision tower makes of the
image. They count against `prompt.max_tokens`, and only the renderer can write them: no text has an image token. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lore_lab.prompts.render import Lines, Renderer

if TYPE_CHECKING:
    from PIL.Image import Image

    from lore_lab.data.example import Example

IMAGE = "<|image|>"  #: the image token; what a tokenizer without vision lacks


class ImagePrompt(list[int]):
    """Token ids of a prompt, and the image its image tokens stand for. image: (3, side, side), uint8."""

    def __init__(self, ids: Iterable[int], image: np.ndarray) -> None:
        super().__init__(ids)
        self.image = image


def image_of(prompt: Sequence[int]) -> np.ndarray | None:
    """The image a prompt shows; None for one of text alone."""
    return getattr(prompt, "image", None)


def extend(prompt: Sequence[int], more: Sequence[int]) -> list[int]:
    """`prompt` with `more` tokens behind it, showing what it showed."""
    ids, image = [*prompt, *more], image_of(prompt)
    return ids if image is None else ImagePrompt(ids, image)


def pixels(images: Sequence[np.ndarray]) -> np.ndarray:
    """(images, 3, side, side) float32 in [-1, 1]."""
    return np.stack(images).astype(np.float32) / 127.5 - 1.0


def raster(image: Image, side: int) -> np.ndarray:
    """(3, side, side) uint8 of an RGB image, resized where it has another size."""
    resized = image.convert("RGB").resize((side, side))
    return np.ascontiguousarray(np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1))


@dataclass
class ImageRenderer(Renderer):
    """A renderer whose prompts begin with the item's image.

    sight: the config of a transformers model with a vision tower (LLaVA's fields). draw: example id -> the item's image.
    """

    sight: Any = None
    draw: Callable[[str], Image] | None = None

    def ids(self, example: Example) -> list[int]:
        assert self.draw is not None
        return ImagePrompt(super().ids(example), raster(self.draw(example.id), self.sight.vision_config.image_size))

    def _encode(self, query: str, fields: Sequence[tuple[str, str]], worked: Sequence[Lines]) -> list[int]:
        return [*image_tokens(self.sight), *super()._encode(query, fields, worked)]


def image_tokens(sight: Any) -> list[int]:
    """What stands for one image in a prompt of a model with the config `sight`."""
    tokens: list[int] = [sight.image_token_id] * sight.image_seq_length
    return tokens

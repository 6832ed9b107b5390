"""The prompts shown in docs/prompts.md are what the renderer writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lore_lab.config.schema import Config
from lore_lab.data.registry import load_source
from lore_lab.prompts.render import Renderer
from lore_lab.stages.graph import plain

PAGE = Path(__file__).parents[2] / "docs" / "prompts.md"


class Letters:
    """A tokenizer of single letters, under which nothing has to be cut."""

    def encode(self, text: str, **_: bool) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


def shown(config: Config) -> str:
    source = load_source(plain(config)["data"])
    config.prompt.max_tokens = 10_000
    renderer = Renderer(Letters(), config.features, config.prompt, source.grades, True, source.guide)
    return Letters().decode(renderer.ids(next(source.examples("train", 1))))


@pytest.mark.parametrize("prompt", ["medium", "long"])
def test_a_shown_prompt_is_the_renderers(compose: Callable[..., Config], prompt: str) -> None:
    blocks = [block.split("```")[0].strip() for block in PAGE.read_text(encoding="utf-8").split("```text\n")[1:]]
    text = shown(compose(f"prompt={prompt}")).strip()
    if prompt == "medium":
        assert blocks[0] == text
    else:
        assert f"\n{blocks[1]}\nexample: " in text

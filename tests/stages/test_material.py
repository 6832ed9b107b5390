"""What stage `rl` hands to the ideas, from a real data artifact."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lore_lab.config.compose import compose
from lore_lab.data.frame import write_examples
from lore_lab.data.registry import load_source
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import INSTRUCTIONS, Pairs
from lore_lab.stages.functions.data import EXAMPLES, describe
from lore_lab.stages.functions.material import make_material
from lore_lab.stages.graph import build, plain
from lore_lab.stages.store import Artifact


class Characters:
    """A token a character."""

    def encode(self, text: str, **_: object) -> list[int]:
        return [ord(letter) for letter in text]


@pytest.mark.parametrize(("evolved", "first"), [(None, "task: "), (["task: other words"], "task: other words\n")])
def test_a_hinted_prompt_is_the_policys_own_with_the_hint(tmp_path: Path, evolved: list[str] | None, first: str) -> None:
    words = ("format=answer_first", "prompt=long", "prompt.max_tokens=3000", "reward=guided")
    config = compose(words)
    source = load_source(plain(config)["data"])
    write_examples(tmp_path / EXAMPLES, [("train", example) for example in source.examples("train", 0, 4)])
    describe(tmp_path, source)
    data = Artifact("data", "d", tmp_path, {})
    inputs = {"data": data}
    if evolved is not None:
        (tmp_path / INSTRUCTIONS).write_text(json.dumps({"lines": evolved}))
        inputs["instructions"] = data
    slice_ = build(config)["rl"].config
    context = StageContext(slice_, inputs, tmp_path, tmp_path, SimpleNamespace(log=None), lambda *_: None)  # type: ignore[arg-type]
    material = make_material(context, Pairs.read(data), Characters(), None, (0,))
    ids = material.hinted(0, "path", "end")
    assert ids is not None
    lines = "".join(map(chr, ids)).split("\n")
    assert "".join(map(chr, ids)).startswith(first)
    assert any(line.startswith("rule: ") for line in lines) == (evolved is None)
    assert lines[-3].startswith("hint path: ")
    assert lines[-2] == "judge:"

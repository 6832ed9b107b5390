"""Stage functions called in this process, on a few pairs of the world and a tiny random policy; a stage gets the slice its node has."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from transformers import set_seed

from lore_lab.config.schema import Config
from lore_lab.config.validate import typed
from lore_lab.data.example import Example, Guide
from lore_lab.data.frame import write_examples
from lore_lab.data.registry import load_source
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.data import EXAMPLES, describe
from lore_lab.stages.graph import build, plain
from lore_lab.stages.store import Artifact
from lore_lab.tracking.local import CurveWriter, read_table
from lore_lab.train.base import make_model, train_tokenizer
from lore_lab.train.common import save_policy
from tests.conftest import composed

TINY = (
    "model.hidden_size=16", "model.intermediate_size=16", "model.num_hidden_layers=1", "model.num_attention_heads=2",
    "model.num_key_value_heads=1", "model.head_dim=null", "model.vocab_size=300", "compute.device=cpu", "prompt.max_tokens=300", "features=title", "features.query_fields=[]",
    "prompt.template=bare",
)  # fmt: skip


def artifact(folder: Path, stage: str = "data") -> Artifact:
    return Artifact(stage, "0", folder, {})


@functools.cache
def world(count: int) -> tuple[Example, ...]:
    return tuple(load_source(plain(typed(composed(())))["data"]).examples("train", 0, count))


def data(folder: Path, examples: tuple[Example, ...]) -> Artifact:
    """A data artifact of four grades."""
    folder.mkdir(parents=True)
    write_examples(folder / EXAMPLES, (("train", example) for example in examples))
    describe(
        folder,
        SimpleNamespace(
            name="world", grades=("irrelevant", "mismatch", "related", "excellent"), relevant_from=2, guide=Guide(), report=dict
        ),
    )  # type: ignore[arg-type]
    return artifact(folder)


def policy(folder: Path, config: Config, examples: tuple[Example, ...]) -> Artifact:
    """A random model of the config's size with a tokenizer of the pairs' words."""
    tokenizer = train_tokenizer([f"{e.query} {e.item['title']} query: title: judge: 1 2 3 4" for e in examples], config.model.vocab_size)
    set_seed(3)
    save_policy(make_model(config.model, tokenizer), tokenizer, folder)
    return artifact(folder, "base")


def context(folder: Path, config: Config, role: str, inputs: Mapping[str, Artifact]) -> StageContext:
    output, work = folder / "output", folder / "work"
    for own in (output, work):
        own.mkdir(parents=True, exist_ok=True)
    node = build(config)[role]
    assert set(node.inputs) == set(inputs), "a stage gets the inputs its node has"
    return StageContext(node.config, inputs, output, work, CurveWriter(work, role), lambda *_: None)


def curves(own: StageContext) -> set[str]:
    """Names of what the stage logged."""
    own.curves.close()
    return set(read_table(own.work)["name"].to_pylist())

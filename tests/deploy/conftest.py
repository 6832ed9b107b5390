"""A finished point with deploy on, in seconds: real stage functions, a policy of random weights in the place of the trained one."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import set_seed

from lore_lab.config.compose import compose
from lore_lab.data.example import Example
from lore_lab.data.frame import read_examples
from lore_lab.stages.context import StageContext
from lore_lab.stages.graph import SPECS, Node
from lore_lab.stages.records import Point, PointRecord, now
from lore_lab.stages.store import Artifact, Store
from lore_lab.train.base import make_model, train_tokenizer
from lore_lab.train.common import save_policy

WORDS = (
    "data.size=40", "model.hidden_size=16", "model.intermediate_size=16", "model.num_hidden_layers=1", "model.num_attention_heads=2",
    "model.num_key_value_heads=1", "model.head_dim=null", "model.vocab_size=400", "model.initializer_range=0.5", "rl=off", "format=label_only", "cot=none",
    "deploy=tiers", "deploy.requests=3000", "deploy.judged=2", "deploy.candidates=3", "deploy.top=2", "deploy.distill_pairs=30",
    "deploy.ranker_bits=10", "deploy.timed=3", "compute.device=cpu", "tracking=local",
)  # fmt: skip


def compute(store: Store, node: Node) -> Artifact:
    """The artifact of a stage whose inputs are there, by its own function."""
    work = store.work(node.stage, node.key)
    (work / "output").mkdir(parents=True)
    inputs = {name: store.find(source.stage, source.key) for name, source in node.inputs.items()}
    context: Any = StageContext(node.config, inputs, work / "output", work, None, lambda *_: None)  # type: ignore[arg-type]
    module, _, name = SPECS[node.stage].function.partition(":")
    metrics = getattr(importlib.import_module(module), name)(context)
    return commit(store, node, metrics)


def commit(store: Store, node: Node, metrics: dict[str, Any]) -> Artifact:
    keys = {name: source.key for name, source in node.inputs.items()}
    manifest = {"config": dict(node.config), "inputs": keys, "metrics": metrics, "seconds": 0.0, "created": now()}
    return store.commit(node.stage, node.key, store.work(node.stage, node.key) / "output", manifest)


@dataclass(frozen=True)
class Deployed:
    root: Path
    point: Point
    tiers: Artifact
    deploy: Artifact

    def examples(self) -> list[Example]:
        """The judged pairs."""
        return [example for _, example in read_examples(self.tiers.path / "examples.parquet")]

    def answers(self) -> pd.DataFrame:
        """One row a judged pair."""
        return pd.read_parquet(self.tiers.path / "answers.parquet")

    def policy(self) -> Path:
        return Store(self.root).path("sft", self.point.nodes["sft"].key)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    root = tmp_path_factory.mktemp("deployed")
    words = (*WORDS, f"root={root}")
    config = compose(words)
    point, store = Point.of(config, words), Store(root)
    compute(store, point.nodes["data"])
    sft = point.nodes["sft"]
    (store.work("sft", sft.key) / "output").mkdir(parents=True)
    tokenizer = train_tokenizer(["query: red dress\ntitle: blue belt\njudge:\n1 2 3 4"] * 30, config.model.vocab_size)
    set_seed(3)
    save_policy(make_model(config.model, tokenizer), tokenizer, store.work("sft", sft.key) / "output")
    commit(store, sft, {})
    tiers, deploy = compute(store, point.nodes["tiers"]), compute(store, point.nodes["deploy"])
    PointRecord(root, point).write(state="done", finished=now())
    return Deployed(root, point, tiers, deploy)

"""A point with images from its data to its evaluation: the graph's own stages with their own slices, in this process, on a micro model."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch

from lore_lab.config.validate import typed, validate
from lore_lab.stages.context import StageContext
from lore_lab.stages.graph import SPECS, Node, build
from lore_lab.stages.store import Artifact
from lore_lab.tracking.local import CurveWriter
from lore_lab.train.common import load_policy
from tests.conftest import composed
from tests.end_to_end.conftest import MICRO

IMAGES = (
    "model=embedded_vlm", "features=image", "rl=off", "model.vision.hidden_size=16", "model.vision.intermediate_size=16",
    "model.vision.num_hidden_layers=1", "model.vision.images=40", "model.vision.pretrain.max_steps=3",
    "model.vision.pretrain.per_device_train_batch_size=8", "eval.subsets=[visual]", "eval.baselines=[]", "compute.device=cpu",
)  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run(nodes: Mapping[str, Node], folder: Path) -> dict[str, Artifact]:
    """Artifacts of the stages by role, computed in order."""
    made: dict[str, Artifact] = {}
    for role, node in nodes.items():
        output, work = folder / role, folder / f"{role}.work"
        output.mkdir(parents=True)
        work.mkdir()
        inputs = {name: made[source.role] for name, source in node.inputs.items()}
        context = StageContext(node.config, inputs, output, work, CurveWriter(work, role), lambda done, total, text: None)
        module, _, name = SPECS[node.stage].function.partition(":")
        metrics = getattr(importlib.import_module(module), name)(context)
        made[role] = Artifact(node.stage, node.key, output, {"metrics": metrics})
    return made


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    config = typed(composed((*MICRO, *IMAGES)))
    assert validate(config) == []
    with one_thread():
        return run(build(config), tmp_path_factory.mktemp("point"))


def test_every_stage_runs_and_every_pair_is_judged(point: dict[str, Artifact]) -> None:
    assert list(point) == ["base", "vision", "data", "bench", "leaks", "sft", "eval"]
    assert point["vision"].metrics["image_tokens"] == 16
    table = pd.read_parquet(point["eval"].path / "predictions.parquet")
    assert (table["mode"] == "greedy").sum() == 4
    assert not table["completion"].str.contains("<|image|>", regex=False).any()
    assert point["eval"].metrics["prompts"] == 4


def test_prompts_hold_the_images_tokens_and_the_data_holds_no_image(point: dict[str, Artifact]) -> None:
    assert point["sft"].metrics["prompt_tokens"] > 16 + 8
    assert point["data"].path.joinpath("examples.parquet").stat().st_size < 64 * 1024


def test_training_changes_the_tower_too(point: dict[str, Artifact]) -> None:
    seen, trained = (load_policy(point[role].path, "cpu")[0] for role in ("vision", "sft"))
    for part in ("vision_tower.embeddings.patch_embedding", "multi_modal_projector.linear_1", "language_model.layers.0.mlp.up_proj"):
        before, after = (dict(model.model.named_parameters())[f"{part}.weight"] for model in (seen, trained))
        assert not torch.equal(before, after), part

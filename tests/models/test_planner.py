"""The planner's counts against the models themselves, and its advice against its own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lore_lab.cli import main
from lore_lab.config.overrides import companions
from lore_lab.config.schema import Config
from lore_lab.models.shape import KNOWN, LINEAR, Shape, shape_of
from lore_lab.planner.hours import Gpu
from lore_lab.planner.memory import Setting, memory
from lore_lab.planner.table import plan, remedies
from lore_lab.planner.work import Work, works
from lore_lab.stages.context import namespace
from lore_lab.train.common import adapted
from tests.models.checkpoints import FAMILIES, make_checkpoint

Compose = Callable[..., Config]
SIZES = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3}


def checkpoint(folder: Path, family: str, compose: Compose) -> tuple[Any, Shape]:
    path = make_checkpoint(folder / family, family, shard="1GB", **SIZES)
    shape = shape_of(compose("model=pretrained", f"model.path={path}").model)
    assert shape is not None
    return AutoModelForCausalLM.from_pretrained(path), shape


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_adapters_are_counted_as_torch_counts_them(tmp_path: Path, compose: Compose, family: str) -> None:
    assert set(KNOWN) == set(FAMILIES)
    model, shape = checkpoint(tmp_path, family, compose)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    for targets in (["q_proj", "k_proj"], list(LINEAR)):
        peft = namespace({"name": "lora", "rank": 3, "alpha": 8.0, "dropout": 0.0, "targets": targets})
        wrapped = adapted(AutoModelForCausalLM.from_pretrained(model.name_or_path), peft, 0)
        trained = sum(parameter.numel() for parameter in wrapped.parameters() if parameter.requires_grad)
        assert shape.adapter_parameters(3, targets) == trained


def kept_bytes(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> int:
    """What torch keeps of a forward pass for its backward pass, parameters left out, each storage once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(input_ids=ids, attention_mask=mask)
    assert output.logits.requires_grad
    return sum(found.values())


@pytest.mark.parametrize("peft", ["none", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_kept_activations_are_those_that_torch_keeps(tmp_path: Path, compose: Compose, family: str, peft: str) -> None:
    """Without checkpointing, whose regions keep their inputs where no hook sees them."""
    model, shape = checkpoint(tmp_path, family, compose)
    targets = list(LINEAR) if peft == "lora" else []
    model = adapted(model, namespace({"name": peft, "rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": targets}), 0)
    model.train()
    length, rows = 96, 4
    ids = torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0  # a padded batch, as batches are
    setting = Setting(4, 4, False, False, 2 if peft == "lora" else None, tuple(targets))
    estimate = memory(Work("sft", length, 0, 0, micro=rows), shape, setting).activations
    assert estimate == pytest.approx(kept_bytes(model, ids, mask), rel=0.2)


WORDS = ["model=qwen2.5-7b", "peft=lora", "compute=gpu"]


def composed_plan(compose: Compose, words: list[str], gpu: Gpu, sharded: bool = False) -> dict[str, Any]:
    return {row.work.stage: row for row in plan(compose(*words, *companions(words)), gpu, sharded)}


def test_the_figures_of_a_7b_lora_run_are_those_of_hand_arithmetic(compose: Compose) -> None:
    rows = composed_plan(compose, WORDS, Gpu(80))
    assert list(rows) == ["sft", "rl", "eval"]
    own = rows["sft"].memory
    adapters = 28 * 16 * (2 * (3584 + 512) + 2 * (3584 + 3584) + 3 * (3584 + 18944))
    assert own.weights == 7_615_616_512 * 2 + adapters * 4
    assert (own.gradients, own.optimizer) == (adapters * 4, adapters * 8)
    work = rows["rl"].work
    assert (work.trained, work.generated, work.scored) == (200 * 64, 100 * 128, 100 * 128)
    assert rows["rl"].memory.cache >= 2 * 28 * 4 * 128 * 2 * 128 * (100 + 512)
    eight = composed_plan(compose, WORDS, Gpu(80, 8), sharded=True)
    assert eight["sft"].memory.weights == pytest.approx(own.weights / 8)
    assert eight["sft"].hours == pytest.approx(rows["sft"].hours / 8)


@pytest.mark.parametrize(
    "words",
    [
        ["model=qwen2.5-7b", "model.dtype=float32"],
        ["model=qwen2.5-7b", "peft=lora", "prompt=long", "sft.per_device_train_batch_size=16"],
        ["model=qwen3-0.6b", "eval.batch_size=4096"],
    ],
)
def test_what_does_not_fit_gets_advice_that_does(compose: Compose, words: list[str]) -> None:
    gpu = Gpu(24 if "0.6b" in words[0] else 80)
    whole = [*words, *companions(words)]
    short = {stage: row for stage, row in composed_plan(compose, words, gpu).items() if row.peak > gpu.usable}
    assert short
    for stage in short:
        advice = remedies(whole, compose(*whole), stage, gpu)
        assert advice
        for line in advice:
            if "sharding" not in line:
                changed = composed_plan(compose, [*whole, *line.split()], gpu)
                assert changed[stage].peak <= gpu.usable


def test_every_stage_with_a_model_is_planned(compose: Compose) -> None:
    names = lambda *words: [work.stage for work in works(compose(*words))]  # noqa: E731
    assert names() == ["base", "sft", "rl", "eval"]
    assert names("rl=off") == ["base", "sft", "eval"]
    assert names("curriculum=easy_to_hard", "curriculum.difficulty=measured", "sft=off", "eval.stages=[]") == [
        "base",
        "difficulty",
        "rl",
        "eval",
    ]


def test_the_command_prints_the_table_what_to_change_and_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *WORDS, "--gpu-memory", "80", "--gpus", "8"]) == 0
    said = capsys.readouterr().out
    assert "8 x 80 GiB, each GPU holds all weights" in said
    assert "8 x 80 GiB, weights, gradients, moments sharded" in said
    assert "assumed: 312 TFLOP/s" in said
    assert main(["plan", *WORDS, "--gpu-memory", "16"]) == 1
    assert "sft does not fit" in capsys.readouterr().out


def test_a_model_without_sizes_is_refused_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "model=pretrained", "model.path=someone/some-model", f"model.revision={'0a' * 20}"]) == 2
    assert "nobody gives the sizes of someone/some-model; plan a directory with its config.json" in capsys.readouterr().err
    assert main(["plan", "model=qwen2.5-7b"]) == 2
    assert "take peft=lora" in capsys.readouterr().err

"""The shipped ways to shard a model are understood by the libraries they are for. Nothing is trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from trl import SFTConfig

from lore_lab.config.validate import problems
from lore_lab.stages.context import namespace
from lore_lab.stages.graph import plain
from lore_lab.train.common import common_arguments

ON_CPU = ["compute.device=cpu", "compute.precision=fp32", "rl=off"]


def compute(compose: Any, *words: str) -> Any:
    """The `compute` settings as a stage gets them."""
    return namespace(plain(compose(*words, *ON_CPU))["compute"])


def test_fsdp2_is_understood_by_transformers_and_accelerate(compose: Any, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        arguments = SFTConfig(**common_arguments(tmp_path, 0, compute(compose, "compute=fsdp2"), save_steps=0))
        plugin = FullyShardedDataParallelPlugin(**arguments.fsdp_plugin_args)
    finally:
        torch.distributed.destroy_process_group()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type)


def test_deepspeed_is_read_as_zero_3(compose: Any, tmp_path: Path) -> None:
    content = common_arguments(tmp_path, 0, compute(compose, "compute=deepspeed"), save_steps=0)["deepspeed"]
    config = HfDeepSpeedConfig(content)
    assert config.is_zero3()
    assert config.get_value("zero_optimization.stage3_gather_16bit_weights_on_model_save") is True, "or rank 0 has nothing to save"


def test_copies_need_no_settings(compose: Any, tmp_path: Path) -> None:
    arguments = common_arguments(tmp_path, 0, compute(compose, "compute.processes=2"), save_steps=0)
    assert arguments["ddp_backend"] == "gloo"
    assert not {"fsdp", "deepspeed"} & set(arguments)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compute=fsdp2"], "rl samples from a whole one"),
        (["compute=fsdp2", "compute.processes=1", "rl=off"], "nothing to share over one process"),
        (
            ["compute.processes=2", "rl.guided_replay.enabled=true", "rl.scale_rewards=batch"],
            "would scale by what other processes replay",
        ),
    ],
)
def test_what_is_not_right_in_several_processes_is_refused(compose: Any, words: list[str], message: str) -> None:
    assert any(message in problem for problem in problems(compose(*words)))


def test_stages_of_one_process_keep_their_keys(compose: Any) -> None:
    from lore_lab.stages.graph import build

    one, two = build(compose()), build(compose("compute.processes=2"))
    changed = {role for role in one if one[role].key != two[role].key}
    assert changed == {"sft", "rl", "sft_eval", "eval"}, "those that run as two, and what reads them"

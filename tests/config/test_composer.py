"""Points composed from options that were composed once are the points Hydra composes one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from lore_lab.command import Composer
from lore_lab.config.overrides import CONF
from lore_lab.config.schema import register
from lore_lab.config.validate import typed

POINTS = [
    ["rl.clip_high=0.2", "seed=0"],
    ["rl.clip_high=0.28", "seed=0"],
    ["rl.clip_high=0.28", "rl/entropy=kl_cov", "seed=1"],
    ["rl/entropy=kl_cov", "rl.kl_cov.coef=2.0", "features.fields=[title,brand]"],
    ["data=chorus", "data.path=pairs", "data.size=7", "cot=none", "format=label_only"],
    ["data=chorus", "data.path=other", "cot=none", "format=label_only", "data.labels.grades=[a,b]"],
    ["rl.clip_high=0.2", "seed=0"],
]


@pytest.fixture(scope="module")
def loader() -> Iterator[Any]:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]


def test_points_equal_those_hydra_composes_one_by_one(loader: Any) -> None:
    master = loader.load_configuration("config", overrides=[], run_mode=RunMode.MULTIRUN)
    compose = Composer(loader, master)
    found = [typed(compose(words)) for words in POINTS]
    assert found == [typed(loader.load_sweep_config(master, words)) for words in POINTS]
    assert found[0] == found[-1] != found[1]
    assert len(compose._options) < len(POINTS)


@pytest.mark.parametrize("given", [["rl.max_steps=7", "seed=0,1"], ["prompt=medium", "seed=0,1"], ["rl.clip_high=0.2,0.28"]])
def test_a_word_of_the_command_reaches_the_points_that_have_it_and_no_other(loader: Any, given: list[str]) -> None:
    master = loader.load_configuration("config", overrides=given, run_mode=RunMode.MULTIRUN)
    compose = Composer(loader, master)
    for words in (["seed=0"], ["seed=1", "rl.max_steps=7"], ["seed=0", "prompt=medium"], ["seed=0"]):
        assert typed(compose(words)) == typed(loader.load_sweep_config(master, words))

"""What tests of several folders share."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from lore_lab.config.overrides import CONF
from lore_lab.config.schema import Config, register
from lore_lab.config.validate import typed


@functools.cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    """The tree Hydra composes from conf/ and the override words. Shared by tests: read it, never write to it."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra_compose("config", overrides=list(overrides))


@pytest.fixture
def compose() -> Callable[..., Config]:
    """`compose("rl.clip_high=0.28", ...)` is the typed config of `python train.py rl.clip_high=0.28 ...`."""
    return lambda *overrides: typed(composed(overrides))

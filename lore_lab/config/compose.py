"""Override words to a typed config, outside Hydra's own command line."""

from __future__ import annotations

import functools

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from lore_lab.config.overrides import CONF, check, companions
from lore_lab.config.schema import Config, register
from lore_lab.config.validate import typed

_registered = functools.cache(register)


@functools.cache
def compose(words: tuple[str, ...]) -> Config:
    """What `python train.py <words>` would run, companions included, not yet validated. Shared: read it, never write to it.

    Raises ConfigError, and Hydra's own errors.
    """
    check(words)
    _registered()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(hydra_compose("config", overrides=[*words, *companions(words)]))

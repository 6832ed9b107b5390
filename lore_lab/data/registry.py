"""Which code reads which `data` config. A new source is one line here, one module, one YAML, one test."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from lore_lab.data.example import Source

#: config class -> (module of the config class, "module:callable" that makes the source)
SOURCES = {
    "WorldConfig": ("lore_lab.config.world", "lore_lab.data.world:WorldSource"),
    "TableConfig": ("lore_lab.config.table", "lore_lab.data.table:open_table"),
}


def source_module(config: Any) -> str:
    """The module whose code decides what a source yields; part of stage keys."""
    return SOURCES[type(config).__name__][1].partition(":")[0]


def load_source(fields: Mapping[str, Any]) -> Source:
    """The source of a plain `data` slice: the config's fields plus `kind`, its class name."""
    fields = dict(fields)
    kind = fields.pop("kind")
    config_module, target = SOURCES[kind]
    schema = getattr(importlib.import_module(config_module), kind)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), fields))
    module, _, name = target.partition(":")
    source: Source = getattr(importlib.import_module(module), name)(config)
    return source

"""Which code reads which `data` config. A new source is one line here, one module, one YAML, one test."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

if TYPE_CHECKING:
    from lore_lab.data.example import Source

#: config class -> (module of the config class, "module:callable" that makes the source)
SOURCES = {
    "WorldConfig": ("lore_lab.config.world", "lore_lab.data.world:WorldSource"),
    "TableConfig": ("lore_lab.config.table", "lore_lab.data.table:open_table"),
}


def source_module(config: Any) -> str:
    """The module whose code decides what a source yields; part of stage keys."""
    return SOURCES[type(config).__name__][1].partition(":")[0]


def content(config: Any) -> dict[str, str]:
    """Checksums of the files a source reads, by path, so that an edited table is another input; empty for a generator."""
    path = Path(getattr(config, "path", None) or "")
    if not getattr(config, "path", None):
        return {}
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path] if path.is_file() else []
    return {
        str(file.relative_to(path) if path.is_dir() else file.name): file_checksum(str(file), file.stat().st_mtime_ns) for file in files
    }


@functools.cache
def file_checksum(path: str, modified: int) -> str:
    """sha256 of a file, read once a process for as long as it is not `modified` (nanoseconds)."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def available(config: Any) -> int | None:
    """Training pairs a source has, whatever data.size asks for; None when there is no end. Reads and checks tables; loads no torch.

    Raises the source's own error, naming file, row and column.
    """
    return _available(type(config).__name__, json.dumps(asdict(config) | {"size": None}, sort_keys=True), json.dumps(content(config)))


@functools.cache
def _available(kind: str, fields: str, files: str) -> int | None:
    if kind == "WorldConfig":
        return None
    return load_source({**json.loads(fields), "kind_of_source": kind, "content": {}}).size("train")


def load_source(fields: Mapping[str, Any]) -> Source:
    """The source of a plain `data` slice: the config's fields plus `kind_of_source`, its class name, and `content`, its files' checksums."""
    fields = dict(fields)
    kind = fields.pop("kind_of_source")
    fields.pop("content")
    config_module, target = SOURCES[kind]
    schema = getattr(importlib.import_module(config_module), kind)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), fields))
    module, _, name = target.partition(":")
    source: Source = getattr(importlib.import_module(module), name)(config)
    return source

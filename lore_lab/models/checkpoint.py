"""Pretrained weights on disk, judged by their files before anything is computed. Imports no torch, runs nothing that lies there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lore_lab.data.registry import file_checksum

INDEX = "model.safetensors.index.json"
#: what a loader reads beside the weights; any of the last three sets makes a tokenizer
SMALL = ("*.json", "*.jinja", "*.txt", "tokenizer.model")
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.model",))
_OLD_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


class BadCheckpoint(ValueError):
    """The directory cannot be used; the message names the file and says what would do."""


def is_hub_id(path: str) -> bool:
    """`owner/name`. Everything else is a directory: a relative one with a slash in it is written ./owner/name."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", path) is not None


def content(path: str | None) -> dict[str, str]:
    """sha256 of every file that a directory's model is loaded from, so that edited weights are another input; empty for a hub id, whose
    revision says what it is, and where there is no such directory."""
    if path is None or is_hub_id(path):
        return {}
    files = [file for pattern in (*SMALL, "*.safetensors") for file in Path(path).expanduser().glob(pattern)]
    return {file.name: file_checksum(str(file), file.stat().st_mtime_ns) for file in sorted(files)}


def check(path: str) -> None:
    """Raise BadCheckpoint unless the directory holds a model in safetensors and its tokenizer, and no code of its own."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise BadCheckpoint(f"{path} is no directory here; a hub id is owner/name")
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise BadCheckpoint(f"{path} holds an adapter, not a model; merge it into its base first (peft: merge_and_unload)")
    config = read(folder / "config.json")
    for name, content in (("config.json", config), ("tokenizer_config.json", read(folder / "tokenizer_config.json"))):
        if "auto_map" in content:
            raise BadCheckpoint(
                f"{path}/{name} asks for code of its own (auto_map), which is never run; take a model that transformers has"
            )
    if "quantization_config" in config:
        raise BadCheckpoint(f"{path} holds quantised weights, which cannot be trained or merged here; take the unquantised model")
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        raise BadCheckpoint(f"{path} has no tokenizer; add {' or '.join(' with '.join(names) for names in _TOKENIZERS)}")
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    index = folder / INDEX
    if index.is_file():
        missing = sorted({name for name in read(index).get("weight_map", {}).values() if not (folder / name).is_file()})
        if missing:
            raise BadCheckpoint(f"{index} names weights that are not there: {', '.join(missing)}")
    elif not (folder / "model.safetensors").is_file():
        old = sorted(file.name for pattern in _OLD_WEIGHTS for file in folder.glob(pattern))
        found = f" but {', '.join(old[:3])}: pickled weights can run code and are not read" if old else ""
        raise BadCheckpoint(f"{folder} has no model.safetensors and no {INDEX}{found}; save it anew with safetensors")


def read(file: Path) -> Mapping[str, Any]:
    """A JSON file of a checkpoint. Raises BadCheckpoint where it is missing or broken."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise BadCheckpoint(f"{file} is missing or cannot be read") from None
    except ValueError as error:
        raise BadCheckpoint(f"{file} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadCheckpoint(f"{file} is not a JSON object")
    return found

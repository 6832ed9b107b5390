"""The engine a config asks for. Engines other than transformers' are found by name, so that a stage key covers the chosen one only."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lore_lab.rollout.engine import Engine, TransformersEngine


@dataclass(frozen=True)
class Place:
    """What an engine is made for. tokens: prompt and completion together, at most. work: a folder of the stage's own; shared: one of the root's."""

    settings: Any  #: the stage's settings
    model: Any
    tokenizer: Any
    ends: tuple[int, ...]
    tokens: int
    work: Path
    shared: Path | None
    trains: bool = False  #: RL: the engine follows a trainer that `attach` names


def model_device(settings: Any) -> str:
    """Where evaluation holds the transformers model: beside another engine it only gives weights and a check."""
    return "cpu" if hasattr(settings, "rollout") else settings.compute.device


def choose_engine(place: Place) -> Engine:
    settings = place.settings
    if not hasattr(settings, "rollout"):  # rollout=transformers leaves no trace in a stage's slice
        return TransformersEngine(
            place.model, place.tokenizer.pad_token_id, place.ends, settings.compute.generation_rounds, settings.compute.prompts_once
        )
    engine: Engine = importlib.import_module(f"lore_lab.rollout.{settings.rollout.name}").build(place)
    return engine

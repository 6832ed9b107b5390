"""Which ideas a config chooses, and where their code lies. Imports no torch: stage keys are made with it."""

from __future__ import annotations

from typing import Any


def sections(config: Any) -> dict[str, Any]:
    """The ideas that are on, by name: the sections of `rl` with a switch that is set."""
    return {name: section for name, section in vars(config).items() if getattr(section, "enabled", False) is True}


def module_of(section: str) -> str:
    return f"lore_lab.train.{section}"

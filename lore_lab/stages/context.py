"""What a stage function receives: its slice, its inputs, where to write, where to log. Nothing else exists for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from lore_lab.stages.store import Artifact


class Curves(Protocol):
    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...


def namespace(content: Any) -> Any:
    """Nested mappings as attributes."""
    if isinstance(content, Mapping):
        return SimpleNamespace(**{name: namespace(value) for name, value in content.items()})
    return content


@dataclass(frozen=True)
class StageContext:
    """The world of one stage run."""

    config: Mapping[str, Any]  #: the slice as plain data
    inputs: Mapping[str, Artifact]  #: verified artifacts by input name
    output: Path  #: empty folder that becomes the artifact
    work: Path  #: survives a kill: checkpoints go here
    curves: Curves
    progress: Callable[[int, int, str], None]  #: (done, total, text)
    rank: int = 0  #: of this process, where a stage is several; only rank 0 writes
    shared: Path | None = None  #: files named by their content that outlive the stage and serve others

    @property
    def settings(self) -> Any:
        """The slice with attribute access."""
        return namespace(self.config)

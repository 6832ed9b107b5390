"""The stages of one small point, run in this process: each stage function on its own slice, inputs first, nothing cached between chains."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lore_lab.config.compose import compose
from lore_lab.config.validate import validate
from lore_lab.stages.context import StageContext
from lore_lab.stages.graph import SPECS, Node, build
from lore_lab.stages.store import Artifact
from tests.end_to_end.conftest import MICRO


class Chain:
    """The stages of the micro point with `words`, by role. What a test puts into `artifacts` is not computed."""

    def __init__(self, folder: Path, *words: str, artifacts: dict[str, Artifact] | None = None) -> None:
        config = compose((*MICRO, *words))
        validate(config)
        self.folder, self.nodes, self.artifacts = folder, build(config), dict(artifacts or {})

    def artifact(self, role: str) -> Artifact:
        if role not in self.artifacts:
            self.artifacts[role] = self.run(self.nodes[role])
        return self.artifacts[role]

    def metrics(self, role: str) -> dict[str, Any]:
        return self.artifact(role).metrics

    def run(self, node: Node) -> Artifact:
        inputs = {name: self.artifact(source.role) for name, source in node.inputs.items()}
        output, work = self.folder / node.role, self.folder / f"{node.role}-work"
        output.mkdir(parents=True)
        work.mkdir()
        context = StageContext(
            dict(node.config), inputs, output, work, SimpleNamespace(log=lambda *_: None), lambda *_: None, shared=self.folder / "shared"  # type: ignore[arg-type]
        )  # fmt: skip
        module, _, name = SPECS[node.stage].function.partition(":")
        metrics = getattr(importlib.import_module(module), name)(context)
        return Artifact(node.stage, node.key, output, json.loads(json.dumps({"metrics": metrics})))

"""Reading input artifacts: examples with their source, and the renderer that puts them into words, and shows their images."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from lore_lab.data.example import Example, Guide
from lore_lab.data.frame import read_examples
from lore_lab.prompts.formats import ResponseFormat, response_format
from lore_lab.prompts.render import Renderer
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.data import EXAMPLES, SOURCE, read_guide
from lore_lab.stages.store import Artifact

INSTRUCTIONS = "instructions.json"
JUDGEMENTS = "judgements.parquet"  #: of a judge's artifact
REASONING = "reasoning.parquet"


def taught(context: StageContext) -> dict[str, str]:
    """A teacher's reasoning by example id, where stage `teach` is an input."""
    if "reasoning" not in context.inputs:
        return {}
    table = pq.read_table(context.inputs["reasoning"].path / REASONING)
    return dict(zip(table["example_id"].to_pylist(), table["reasoning"].to_pylist(), strict=True))


@dataclass(frozen=True)
class Pairs:
    """Examples of a data or bench artifact, with their splits and what the source says of itself."""

    rows: list[tuple[str, Example]]
    source: dict[str, Any]
    guide: Guide

    @classmethod
    def read(cls, artifact: Artifact) -> Pairs:
        source = json.loads((artifact.path / SOURCE).read_text(encoding="utf-8"))
        return cls(read_examples(artifact.path / EXAMPLES), source, read_guide(artifact.path))

    @property
    def grades(self) -> int:
        return len(self.source["grades"])

    def layout(self, settings: Any) -> ResponseFormat:
        return response_format(settings.format.name, self.grades)

    def renderer(self, settings: Any, tokenizer: Any, kind: type[Renderer] = Renderer, layout: str | None = None, **more: Any) -> Renderer:
        """Prompts as `settings` has them. layout: name of the response format asked for, that of `settings.format` where it is None."""
        reason_first = (layout or settings.format.name) == "reason_first"
        return kind(tokenizer, settings.features, settings.prompt, self.source["grades"], reason_first, self.guide, **more)

    def seeing_renderer(self, context: StageContext, tokenizer: Any, model: Any) -> Renderer:
        """The stage's renderer; under `features.image` its prompts begin with the image, drawn anew from the source.

        What draws is imported by name: only the keys of stages that show images cover it.
        """
        head = instructions(context)
        if not context.settings.features.image:
            return self.renderer(context.settings, tokenizer, head=head)
        kind = importlib.import_module("lore_lab.prompts.images").ImageRenderer
        source = importlib.import_module("lore_lab.data.registry").load_source(context.config["data"])
        return self.renderer(context.settings, tokenizer, kind, head=head, sight=model.config, draw=source.image)


def instructions(context: StageContext) -> list[str] | None:
    """The lines before the query that stage `evolve` chose; None where the stage does not read it: as the lab writes them."""
    if "instructions" not in context.inputs:
        return None
    content = json.loads((context.inputs["instructions"].path / INSTRUCTIONS).read_text(encoding="utf-8"))
    return list(content["lines"])

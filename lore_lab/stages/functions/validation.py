"""The source's validation pairs, for stages that choose something by them: a temperature, a text. No policy is trained or tested on them."""

from __future__ import annotations

from lore_lab.data.example import Example
from lore_lab.data.registry import load_source
from lore_lab.stages.context import StageContext


def validation_pairs(context: StageContext, count: int, what: str) -> list[Example]:
    """The first `count` of them. what: the setting that asks. Raises ValueError where the source has fewer."""
    source = load_source(context.config["data"])
    found = list(source.examples("validation", 0, count))
    if len(found) < count:
        raise ValueError(f"{what} needs {count} validation pairs, {source.name} has {len(found)}; lower it, or give the source more")
    return found

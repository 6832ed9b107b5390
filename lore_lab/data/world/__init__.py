"""The world: the embedded source of examples, a simulator whose truth is known (docs/world.md)."""

from lore_lab.data.world.source import WorldSource

__all__ = ["WorldSource"]

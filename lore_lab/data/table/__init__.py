"""Sources read from tables: rated pairs of any shape, and catalogues without ratings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lore_lab.data.table.catalogue import CatalogueSource
from lore_lab.data.table.problems import TableError
from lore_lab.data.table.source import TableSource

if TYPE_CHECKING:
    from lore_lab.config.table import TableConfig

__all__ = ["CatalogueSource", "TableError", "TableSource", "open_table"]


def open_table(config: TableConfig) -> TableSource | CatalogueSource:
    """The source a `data` node describes. Raises TableError."""
    return CatalogueSource(config) if config.kind == "catalogue" else TableSource(config)

"""`--plan`: the stages a command would run and which of them are there already. Imports no torch, reads no artifact's bytes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from lore_lab.stages.graph import Node
from lore_lab.stages.records import Point
from lore_lab.stages.store import Store


def plan(points: Sequence[Point], store: Store) -> list[tuple[Node, bool, int]]:
    """(stage, whether it is cached, points that use it), each stage once, inputs before their users."""
    nodes: dict[str, Node] = {}
    uses: dict[str, set[str]] = {}
    for point in points:
        for node in point.nodes.values():
            nodes.setdefault(node.id, node)
            uses.setdefault(node.id, set()).add(point.key)
    return [(node, store.exists(node.stage, node.key), len(uses[node.id])) for node in nodes.values()]


def print_plan(points: Sequence[Point], store: Store) -> None:
    table = Table(title=f"{len({point.key for point in points})} points")
    for heading in ("stage", "key", "state", "points"):
        table.add_column(heading)
    rows = plan(points, store)
    for node, cached, count in rows:
        table.add_row(node.role, node.key, "cached" if cached else "to run", str(count))
    console = Console()
    console.print(table)
    console.print(f"{sum(not cached for _, cached, _ in rows)} stages to run, {sum(cached for _, cached, _ in rows)} cached")

"""Stage `leaks`: no query of the test pairs may be among the training pairs. Training waits for it; what it finds ends the point."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq

from lore_lab.data.leaks import LeakError, compare_queries
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.data import EXAMPLES, SOURCE
from lore_lab.stages.store import Artifact


def run(context: StageContext) -> dict[str, Any]:
    """Number of distinct queries by split. Raises LeakError naming the queries."""
    name = json.loads((context.inputs["data"].path / SOURCE).read_text(encoding="utf-8"))["name"]
    try:
        counts = compare_queries(name, _queries(context.inputs["data"]), _queries(context.inputs["bench"]))
    except LeakError as error:
        raise LeakError(
            f"{error}\nTake them out of one of the two; data.problems.shared_query=drop keeps a table's in the test split"
        ) from None
    return {f"queries/{split}": count for split, count in counts.items()}


def _queries(artifact: Artifact) -> dict[str, list[str]]:
    """Split -> its queries."""
    table = pq.read_table(artifact.path / EXAMPLES, columns=["split", "query"]).to_pandas()
    return {str(split): rows.tolist() for split, rows in table.groupby("split", sort=True)["query"]}

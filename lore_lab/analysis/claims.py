"""The claims and their committed results as one table. Reads the files under experiments/ and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

_FILE = ("claim", "source", "tag", "metric", "direction", "smallest_effect", "baseline", "needs", "budget")
_ARM = ("outcome", "effect", "low", "high", "p_holm", "improvement", "seeds_to_settle", "reason")


def load_claims(folder: str | Path = "experiments") -> pd.DataFrame:
    """One row per claim and arm judged; one row for a claim without a result.

    Columns: name (paper/claim), paper, the file's claim, source, tag, metric, direction, smallest_effect, baseline, needs, budget;
    verdict (of the claim: a verdict, else "not measured" or "needs ..."); and where there is a result arm, seeds, and the arm's outcome,
    effect, low, high, p_holm, improvement, seeds_to_settle, reason. Whether a result is stale is for `lore-lab claims` to say.
    """
    rows = [row for path in sorted(Path(folder).glob("*/*.yaml")) for row in _rows(path)]
    return pd.DataFrame(rows, columns=["name", "paper", *_FILE, "verdict", "arm", "seeds", *_ARM])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    facts = {"name": f"{path.parent.name}/{path.stem}", "paper": path.parent.name} | {key: file.get(key) for key in _FILE}
    stored = path.with_suffix(".result.json")
    if not stored.is_file():
        yield facts | {"verdict": f"needs {file['needs']}" if file.get("needs") else "not measured"}
        return
    result = json.loads(stored.read_text(encoding="utf-8"))
    for found in result["verdicts"]:
        yield facts | {"verdict": result["outcome"], "arm": found["arm"], "seeds": len(found["seeds"])} | {key: found[key] for key in _ARM}

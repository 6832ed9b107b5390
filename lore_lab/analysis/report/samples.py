"""Confusion matrices, and what the model said before and after RL, from the saved predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lore_lab.analysis.load import evaluation_of, final_model, load_predictions

_CELLS = ["gold", "predicted"]
_TEXT = ["example_id", "capability", "frequency", "query", "title", "gold", "mode", "predicted", "completion"]
MOST_CHARACTERS = 2000  #: of one completion; the file on disk has it whole


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Greedy predictions pooled over seeds. rows: gold grade -> counts by `columns`; the last column counts invalid completions.

    shares: the same as shares of the row, 0..1.
    """

    title: str
    columns: list[str]
    rows: dict[str, list[int]]
    shares: dict[str, list[float]]
    seeds: int


@dataclasses.dataclass(frozen=True)
class Sample:
    """One example with the greedy completions before and after. change: how the answer changed, in words."""

    query: str
    title: str
    tags: str
    gold: str
    before: str
    after: str
    before_grade: str
    after_grade: str
    change: str


def confusions(root: Path, runs: pd.DataFrame, labels: dict[str, str]) -> list[Confusion]:
    """One matrix per arm, after one of the model before RL where it was evaluated."""
    done = runs[runs["state"] == "done"]
    keys = {arm: _evaluations(root, own) for arm, own in done.groupby("arm", sort=False) if arm in labels}
    before = list(dict.fromkeys(first for pairs in keys.values() for first, _ in pairs if first))
    groups = {"before RL": before} | {labels[str(arm)]: [last for _, last in pairs] for arm, pairs in keys.items()}
    found = (_confusion(root, title, evaluations) for title, evaluations in groups.items())
    return [matrix for matrix in found if matrix is not None]


def before_and_after(root: Path, runs: pd.DataFrame, arm: str, most: int = 8) -> list[Sample]:
    """Examples of the arm's first finished seed: answers that RL mended, broke, left wrong and left right, as evenly as there are."""
    own = runs[(runs["state"] == "done") & (runs["arm"] == arm)]
    first, last = next(((a, b) for a, b in _evaluations(root, own) if a), (None, None))
    tables = [load_predictions(root, key, _TEXT) for key in (first, last) if key]
    if len(tables) != 2 or any(table is None for table in tables):
        return []
    old, new = (table[table["mode"] == "greedy"].drop_duplicates("example_id") for table in tables if table is not None)
    both = old.merge(new[["example_id", "predicted", "completion"]], on="example_id", suffixes=("_before", "_after"))
    was, now = both["predicted_before"] == both["gold"], both["predicted_after"] == both["gold"]
    both["change"] = "wrong before and after"
    both.loc[~was & now, "change"] = "mended by RL"
    both.loc[was & ~now, "change"] = "broken by RL"
    both.loc[was & now, "change"] = "right before and after"
    order = ["mended by RL", "broken by RL", "wrong before and after", "right before and after"]
    rank = both.groupby("change").cumcount()
    chosen = (
        both.assign(rank=rank, kind=both["change"].map(order.index))
        .sort_values(["rank", "kind"])
        .head(most)
        .sort_values("kind", kind="stable")
    )
    return [_sample(row) for row in chosen.to_dict("records")]


def _evaluations(root: Path, runs: pd.DataFrame) -> list[tuple[str | None, str]]:
    """(evaluation before RL or None, final evaluation) of every point that has the final one."""
    pairs = []
    for stages in runs["stages"]:
        model = final_model(stages)
        last = evaluation_of(root, stages, model[1]) if model else None
        before = next(
            (evaluation_of(root, stages, key) for stage, key in stages if stage in ("sft", "dpo") and (stage, key) != model), None
        )
        if last:
            pairs.append((before, last))
    return pairs


def _confusion(root: Path, title: str, keys: list[str]) -> Confusion | None:
    tables = [table for key in keys if (table := load_predictions(root, key, [*_CELLS, "mode"])) is not None]
    if not tables:
        return None
    table = pd.concat(tables)
    table = table[table["mode"] == "greedy"]
    grades = sorted({int(g) for g in table["gold"]} | {int(p) for p in table["predicted"] if p >= 0})
    counts = table.groupby(_CELLS).size().unstack(fill_value=0).reindex(index=grades, columns=[*grades, -1], fill_value=0)
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    names = [_grade(grade) for grade in grades]
    return Confusion(
        title,
        [*names, "invalid"],
        {n: [int(v) for v in row] for n, row in zip(names, counts.to_numpy(), strict=True)},
        {n: [float(v) for v in row] for n, row in zip(names, shares.to_numpy(), strict=True)},
        len(tables),
    )


def _sample(row: Mapping[Hashable, Any]) -> Sample:
    return Sample(
        query=str(row["query"]),
        title=str(row["title"]),
        tags=f"{row['capability']}, {row['frequency']}",
        gold=_grade(row["gold"]),
        before=_cut(str(row["completion_before"])),
        after=_cut(str(row["completion_after"])),
        before_grade=_grade(row["predicted_before"]),
        after_grade=_grade(row["predicted_after"]),
        change=str(row["change"]),
    )


def _grade(value: object) -> str:
    """L1 for the grade 0, and so on; -1 is no grade."""
    grade = int(str(value))
    return f"L{grade + 1}" if grade >= 0 else "invalid"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + f" … ({len(text) - MOST_CHARACTERS} more characters)"

"""Runs and curves of an output folder as pandas tables. Reads only what stages and tracking wrote; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lore_lab.tracking.folders import work_folder
from lore_lab.tracking.local import read_table

MODEL_STAGES = ("base", "vision", "sft", "dpo", "rl", "distill")


def load_runs(root: str | Path = "outputs", sweep: str | None = None) -> pd.DataFrame:
    """One row per point of `root` (of one sweep, in the sweep's order, when `sweep` is given).

    Columns: point, sweep (the newest that holds the point), state, seed, arm (as the sweep's experiment calls it, else the overrides
    except the seed, "default" when there are none), seconds, finished, error, log, stages (list of (stage, key)), one column per axis (numbers where all values are
    numbers), one per metric. A point of the sweep that never started is there with state "queued". Raises FileNotFoundError for
    a sweep that is not there.
    """
    root = Path(root)
    sweeps = [load_sweep(root, sweep)] if sweep else list_sweeps(root)
    owner = {entry["point"]: s["sweep"] for s in reversed(sweeps) for entry in s["points"]}
    queued = {entry["point"]: entry["overrides"] for s in sweeps for entry in s["points"]}
    points = list(queued) if sweep else sorted(p.name for p in (root / "points").glob("*") if (p / "point.json").exists())
    # Another command may have come to the same point since; in a sweep a point goes by the sweep's words.
    named = {e["point"]: {name: e[name] for name in ("overrides", "arm") if name in e} for e in sweeps[0]["points"]} if sweep else {}
    records = [(load_point(root, point) or {"state": "queued"}) | named.get(point, {}) for point in points]
    swept = [axis for s in sweeps for axis in s["axes"]] if sweep else _override_keys(records)
    axes = [axis for axis in dict.fromkeys(swept) if axis != "seed"]
    rows = [_row(point, owner.get(point), record, axes) for point, record in zip(points, records, strict=True)]
    runs = pd.DataFrame(rows, columns=list(dict.fromkeys(key for row in rows for key in row)) or list(_row("", None, {}, [])))
    for axis in axes:
        runs[axis] = _numbers(runs[axis])
    runs["seed"] = runs["seed"].astype("Int64")
    runs.attrs = {"root": str(root), "axes": axes}
    return runs


def load_curves(runs: pd.DataFrame, names: Iterable[str] | None = None, root: str | Path | None = None) -> pd.DataFrame:
    """The curves of the runs' own stages, long: point, arm, seed, step, name, value. point, arm and name are categoricals.

    names: the curves to keep, such as "rl/entropy" (all when None). root: where the runs lie (their own root when None).
    Stages that are still running, or were killed, give what they wrote so far.
    """
    root = Path(root if root is not None else runs.attrs.get("root", "outputs"))
    keep = None if names is None else pa.array(list(names), pa.string())
    cache: dict[tuple[str, str], pa.Table | None] = {}
    tables: list[pa.Table] = []
    owners: list[int] = []
    for row, stages in enumerate(runs["stages"]):
        for stage in dict.fromkeys(stages):
            if stage not in cache:
                cache[stage] = _stage_curves(root, stage[0], stage[1], keep)
            table = cache[stage]
            if table is not None:
                tables.append(table)
                owners.append(row)
    if not tables:
        return pd.DataFrame({"point": [], "arm": [], "seed": [], "step": [], "name": [], "value": []})
    repeat = np.repeat(np.asarray(owners), [table.num_rows for table in tables])
    curves: pd.DataFrame = pa.concat_tables(tables).unify_dictionaries().to_pandas()
    curves.insert(0, "seed", runs["seed"].array.take(repeat))
    curves.insert(0, "arm", _labels(runs["arm"], repeat))
    curves.insert(0, "point", _labels(runs["point"], repeat))
    return curves


def _labels(column: pd.Series, repeat: np.ndarray) -> pd.Series:
    return pd.Series(pd.Categorical(column, categories=column.unique()).take(repeat))


def latest(runs: pd.DataFrame) -> pd.DataFrame:
    """The newest point of every arm and seed: after a change of code or libraries the older ones are still on disk."""
    order = runs.assign(done=runs["state"] == "done").sort_values(["done", "finished"], kind="stable", na_position="first")
    return runs.loc[order.drop_duplicates(["arm", "seed"], keep="last").index.sort_values()].reset_index(drop=True)


def load_point(root: str | Path, point: str) -> dict[str, Any] | None:
    """The record of one point; None when it never started."""
    return _read_json(Path(root) / "points" / point / "point.json")


def load_sweep(root: str | Path, sweep: str) -> dict[str, Any]:
    """The record of one sweep. Raises FileNotFoundError naming the sweeps there are."""
    record = _read_json(Path(root) / "sweeps" / sweep / "sweep.json")
    if record is None:
        known = ", ".join(s["sweep"] for s in list_sweeps(root)) or "none"
        raise FileNotFoundError(f"no sweep {sweep!r} under {root} (there: {known})")
    return record


def list_sweeps(root: str | Path) -> list[dict[str, Any]]:
    """The records of all sweeps, newest first."""
    records = [_read_json(path) for path in sorted(Path(root).glob("sweeps/*/sweep.json"))]
    return sorted((r for r in records if r), key=lambda r: r["created"], reverse=True)


def load_manifest(root: str | Path, stage: str, key: str) -> dict[str, Any] | None:
    """The manifest of one stored stage; None when it is not there."""
    return _read_json(stage_dir(root, stage, key) / "manifest.json")


def load_predictions(root: str | Path, key: str, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
    """The predictions of one evaluation, one row per completion; None when they are not there."""
    path = stage_dir(root, "eval", key) / "predictions.parquet"
    return pq.read_table(path, columns=list(columns) if columns else None).to_pandas() if path.exists() else None


def load_order(root: str | Path, stages: Sequence[tuple[str, str]]) -> pd.DataFrame | None:
    """The prompts a point's RL visited, in order: example, difficulty (nan where the source has none); None without a finished RL stage."""
    key = dict(stages).get("rl")
    record = _read_json(stage_dir(root, "rl", key) / "order.json") if key else None
    return pd.DataFrame({"example": record["examples"], "difficulty": np.array(record["difficulty"], dtype=float)}) if record else None


def stage_dir(root: str | Path, stage: str, key: str) -> Path:
    """Where a finished stage lies."""
    return Path(root) / "store" / stage / key


def final_model(stages: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The last stage of a point that made a model, as (stage, key)."""
    return next((stage for stage in reversed(stages) if stage[0] in MODEL_STAGES), None)


def evaluation_of(root: str | Path, stages: Sequence[tuple[str, str]], model_key: str) -> str | None:
    """The key of the point's evaluation of the model made by stage `model_key`; None when there is none yet."""
    for stage, key in stages:
        if stage == "eval" and model_key in ((load_manifest(root, stage, key) or {}).get("inputs") or {}).values():
            return key
    return None


#: overrides that never make an arm: the pairing unit, and what cannot change a result
_NO_ARM = ("seed", "root", "guard", "tracking", "tracking.wandb", "tracking.project", "tracking.entity")


def arm_name(overrides: Iterable[str]) -> str:
    """How an arm is called: its overrides except the seed (and where to write, how strict to be), "default" when there are none."""
    return " ".join(o for o in overrides if o.partition("=")[0].lstrip("+~") not in _NO_ARM) or "default"


def short_names(arms: Iterable[str]) -> dict[str, str]:
    """Arm -> its name without the overrides that all arms share, for tables and legends."""
    arms = list(dict.fromkeys(arms))
    shared = set.intersection(*(set(arm.split(" ")) for arm in arms)) if len(arms) > 1 else set()
    return {arm: " ".join(o for o in arm.split(" ") if o not in shared) or "default" for arm in arms}


def find_arm(runs: pd.DataFrame, wanted: str) -> str:
    """The arm called `wanted`, or the only one that has all of its overrides. Raises KeyError naming the arms there are."""
    arms = [str(arm) for arm in runs["arm"].unique()]
    if wanted in arms:
        return wanted
    holders = [arm for arm in arms if set(wanted.split()) <= set(arm.split(" "))]
    if len(holders) == 1:
        return holders[0]
    raise KeyError(f"{wanted!r} fits {'several arms' if holders else 'no arm'} (there: {'; '.join(holders or arms)})")


def _row(point: str, sweep: str | None, record: dict[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    overrides = record.get("overrides", [])
    values = dict(o.lstrip("+~").split("=", 1) for o in overrides if "=" in o)
    row: dict[str, Any] = {
        "point": point,
        "sweep": sweep,
        "state": record.get("state"),
        "seed": record.get("seed", int(values["seed"]) if values.get("seed", "").isdigit() else None),
        "arm": record.get("arm") or arm_name(overrides),
        "seconds": record.get("seconds"),
        "finished": record.get("finished"),
        "error": record.get("error"),
        "log": record.get("log"),
        "stages": [("eval" if s["stage"].endswith("_eval") else s["stage"], s["key"]) for s in record.get("stages", [])],
    }
    for axis in axes:
        row[axis] = values.get(axis, _config_value(record.get("config"), axis))
    return row | (record.get("metrics") or {})


def _config_value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    # A config group (prompt, curriculum) resolves to its fields; only a scalar says what a point without the override has.
    return None if isinstance(config, (dict, list)) else config


def _override_keys(records: Iterable[dict[str, Any]]) -> list[str]:
    return [o.lstrip("+~").partition("=")[0] for record in records for o in record.get("overrides", []) if "=" in o]


def _numbers(column: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers if (numbers.notna() | column.isna()).all() else column


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return content


def _stage_curves(root: Path, stage: str, key: str, keep: pa.Array | None) -> pa.Table | None:
    stored = stage_dir(root, stage, key)
    table = read_table(stored if stored.exists() else work_folder(root, stage, key))
    table = table if keep is None else table.filter(pc.is_in(table["name"], value_set=keep))
    return table.set_column(1, "name", table["name"].dictionary_encode()) if table.num_rows else None

"""Did the swept settings act? What shows that an option of a point did, and a note for every point without such a sign. Reads manifests,
curves and predictions; which curve shows what is said by the registry (lore_lab/config/arms.py)."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd

from lore_lab.analysis.load import (
    evaluation_of,
    final_model,
    load_curves,
    load_manifest,
    load_order,
    load_point,
    load_predictions,
    short_names,
)
from lore_lab.config.arms import Sign, active

CLIP_CURVES = ("rl/clip_ratio/high_mean", "rl/clip_ratio/low_mean", "rl/clip_ratio/region_mean")
_WEIGHTS = (".safetensors", ".bin", ".pt")


class Finding(NamedTuple):
    """A reason to doubt that a point's settings acted. same_as: arms it is indistinguishable from (its own when the seed did
    nothing)."""

    point: str
    text: str
    same_as: frozenset[str]


class Effect(NamedTuple):
    """What one sign of a point's options says. name: the curve. acted: None where it cannot be told, for the reason `text`. value: its greatest."""

    point: str
    arm: str
    name: str
    acted: bool | None
    text: str
    value: float = math.nan


class _Reading(NamedTuple):
    """How a sign is read. shows: (the point's values, the baseline's of the same seed) -> whether it is there."""

    shows: Callable[[pd.Series, pd.Series], bool]
    yes: str
    no: str
    paired: bool = False  #: needs the baseline


_READINGS: dict[str, _Reading] = {
    "positive": _Reading(lambda own, base: bool((own > 0).any()), "up to {0:.3g}", "never above 0"),
    "rises": _Reading(lambda own, base: bool((own.diff() > 0).any()), "rises", "never rises"),
    "falls": _Reading(lambda own, base: bool((own.diff() < 0).any()), "falls", "never falls"),
    "moves": _Reading(lambda own, base: own.nunique() > 1, "moves", "never moves"),
    "differs": _Reading(
        lambda own, base: bool(own.iloc[0] != base.iloc[0]), "differs from the baseline's at once", "starts as the baseline's", True
    ),
    "reordered": _Reading(lambda own, base: list(own) != list(base), "is not the baseline's", "is the baseline's", True),
}


def effects(runs: pd.DataFrame, root: str | Path | None = None) -> list[Effect]:
    """What the options of every finished point show of themselves, against `baseline_arm`. An option that every point has is not compared
    with the baseline, for that has it too."""
    root = Path(root if root is not None else runs.attrs.get("root", "outputs"))
    done = runs[runs["state"] == "done"]
    signs = _signs_of(done, root)
    wanted = {sign.curve for own in signs.values() for sign in own}
    if not wanted:
        return []
    curves = load_curves(done, wanted, root).sort_values("step", kind="stable")
    values = {(str(point), str(name)): own for (point, name), own in curves.groupby(["point", "name"], observed=True)["value"]}
    for point, stages in zip(done["point"], done["stages"], strict=True):
        order = load_order(root, stages)
        if order is not None:
            values[str(point), "order"] = order["example"]
    base, shared = done[done["arm"] == _baseline(done, signs)], _shared(signs)
    of_seed = dict(zip(base["seed"], base["point"], strict=True))
    return [
        _effect(row, sign, values, of_seed.get(row["seed"]))
        for row in done.to_dict("records")
        for sign in signs[row["point"]]
        if not (sign in shared and _READINGS[sign.how].paired)
    ]


def baseline_arm(runs: pd.DataFrame, root: str | Path | None = None) -> str | None:
    """The first finished arm that has no option with a sign but those that all arms have: plain GRPO, a random order. None where there is no
    such arm."""
    root = Path(root if root is not None else runs.attrs.get("root", "outputs"))
    done = runs[runs["state"] == "done"]
    return _baseline(done, _signs_of(done, root))


def _baseline(done: pd.DataFrame, signs: dict[str, list[Sign]]) -> str | None:
    shared = _shared(signs)
    return next((str(arm) for arm, point in zip(done["arm"], done["point"], strict=True) if shared.issuperset(signs[point])), None)


def _shared(signs: dict[str, list[Sign]]) -> frozenset[Sign]:
    return frozenset(set.intersection(*map(set, signs.values()))) if signs else frozenset()


def _signs_of(done: pd.DataFrame, root: Path) -> dict[str, list[Sign]]:
    """Point -> the signs of all its options, each once: options that share a section share its sign."""
    found = {}
    for point in map(str, done["point"]):
        config = (load_point(root, point) or {}).get("config", {})
        record: Any = json.loads(json.dumps(config), object_hook=lambda fields: SimpleNamespace(**fields))
        found[point] = list(dict.fromkeys(sign for arm in active(record) for sign in arm.signs))
    return found


def _effect(row: dict[Hashable, Any], sign: Sign, values: dict[tuple[str, str], pd.Series], baseline: str | None) -> Effect:
    reading, name = _READINGS[sign.how], sign.curve.removeprefix("rl/").removeprefix("lore/")
    own, base = values.get((row["point"], sign.curve)), values.get((str(baseline), sign.curve))
    acted, text = None, "was not logged"
    if own is not None and reading.paired and base is None:
        text = "has no baseline of this seed to be compared with"
    elif own is not None:
        acted = reading.shows(own, own if base is None else base)
        text = reading.yes.format(own.max()) if acted else reading.no
    value = math.nan if own is None or reading.paired else float(own.max())
    return Effect(row["point"], row["arm"], name, acted, text, value)


def findings(runs: pd.DataFrame, root: str | Path | None = None) -> list[Finding]:
    """What is suspicious about finished points: an option without its sign; a swept clip range that no token ever reached; final weights that are
    byte-identical to another arm's of the same seed, or to another seed's of the same arm, though trained apart; evaluation
    predictions that are identical in the same way."""
    root = Path(root if root is not None else runs.attrs.get("root", "outputs"))
    done = runs[runs["state"] == "done"]
    return [*_no_sign(done, root), *_never_clipped(done, root), *_same_weights(done, root), *_same_predictions(done, root)]


def realised_effect(runs: pd.DataFrame, root: str | Path | None = None) -> dict[str, list[str]]:
    """Point -> what is suspicious about it, as sentences; points without suspicion are not in it."""
    notes: dict[str, list[str]] = defaultdict(list)
    for finding in findings(runs, root):
        notes[finding.point].append(finding.text)
    return dict(notes)


def inert_arms(runs: pd.DataFrame, baseline: str) -> dict[str, str]:
    """Arm -> why its difference to `baseline` says nothing: every finished point of it is indistinguishable from the
    baseline's."""
    like_baseline = {f.point: f.text for f in findings(runs) if baseline in f.same_as}
    done = runs[(runs["state"] == "done") & (runs["arm"] != baseline)]
    arms = {str(arm): list(own["point"]) for arm, own in done.groupby("arm", sort=False)}
    return {arm: like_baseline[points[0]] for arm, points in arms.items() if all(point in like_baseline for point in points)}


def _no_sign(runs: pd.DataFrame, root: Path) -> Iterable[Finding]:
    # Without its sign an option did not do what it is for. Its arm may still differ from others by what else it sets: it is like none.
    return (Finding(e.point, f"no effect seen: {e.name} {e.text}", frozenset()) for e in effects(runs, root) if e.acted is False)


def _never_clipped(runs: pd.DataFrame, root: Path) -> Iterable[Finding]:
    axes = [axis for axis in runs.attrs.get("axes", []) if "clip" in axis]
    curves = load_curves(runs, CLIP_CURVES, root) if axes else pd.DataFrame()
    if curves.empty:
        return
    highest = curves.groupby(["point", "name"], observed=True)["value"].max().unstack()
    arm_of = runs.set_index("point")["arm"]
    for suffix, name in (("clip_high", CLIP_CURVES[0]), ("clip_low", CLIP_CURVES[1])):
        if name in highest and (highest[name] == 0).all() and any(axis.endswith(suffix) for axis in axes):
            every = frozenset(arm_of)
            yield from (Finding(str(point), f"no arm ever reached {suffix}: the axis did nothing", every) for point in highest.index)
            return
    never = highest.index[(highest.fillna(0) == 0).all(axis=1)]
    # An arm whose range is too wide to be reached still differs from one whose range was reached: it is only like others of its
    # kind.
    alike = frozenset(arm_of[never])
    yield from (Finding(str(point), "the clip range was never reached (all clip ratios are 0)", alike) for point in never)


def _same_weights(runs: pd.DataFrame, root: Path) -> Iterable[Finding]:
    models = {point: final_model(stages) for point, stages in zip(runs["point"], runs["stages"], strict=True)}
    # Points that share the stage itself differ in a later stage only (an axis of the evaluation): nothing to mark.
    marks = {point: (model[1], _weights(root, model)) for point, model in models.items() if model}
    yield from _same(runs, marks, "weights")


def _same_predictions(runs: pd.DataFrame, root: Path) -> Iterable[Finding]:
    # Reading every completion of 1,000 points takes long; identical predictions have identical metrics: only those are compared.
    metrics = runs[[column for column in runs if str(column).startswith("eval/")]]
    suspects = runs[metrics.duplicated(keep=False)] if len(metrics.columns) else runs
    keys = {point: _evaluation(root, stages) for point, stages in zip(suspects["point"], suspects["stages"], strict=True)}
    # Points that share the evaluation itself differ in another target (a deployment, the baselines): nothing to mark.
    marks = {point: (key, _predictions(root, key)) for point, key in keys.items() if key}
    yield from _same(runs, marks, "predictions")


def _same(runs: pd.DataFrame, marks: dict[str, tuple[str, Hashable]], what: str) -> Iterable[Finding]:
    """Points with the same content, under different keys, as another arm of their seed or another seed of their arm.

    marks: point -> (key, content or None).
    """
    names = short_names(runs["arm"])
    groups: dict[Hashable, list[tuple[str, str, str, object]]] = defaultdict(list)
    for point, arm, seed in zip(runs["point"], runs["arm"], runs["seed"], strict=True):
        key, content = marks.get(point, ("", None))
        if content is not None:
            groups[content].append((point, key, arm, seed))
    for members in groups.values():
        for point, key, arm, seed in members:
            arms = sorted({a for _, k, a, s in members if a != arm and s == seed and k != key})
            seeds = sorted({str(s) for _, k, a, s in members if a == arm and s != seed and k != key})
            if arms:
                more = f" and {len(arms) - 1} more" if len(arms) > 1 else ""
                yield Finding(point, f"same {what} as {names[arms[0]]}{more}", frozenset(arms))
            if seeds:
                yield Finding(point, f"same {what} as seed {seeds[0]}: the seed did nothing", frozenset([arm]))


def _weights(root: Path, model: tuple[str, str]) -> Hashable:
    files = (load_manifest(root, *model) or {}).get("files", {})
    return frozenset((name, entry["sha256"]) for name, entry in files.items() if name.endswith(_WEIGHTS)) or None


def _evaluation(root: Path, stages: list[tuple[str, str]]) -> str | None:
    """The key of the final policy's evaluation."""
    model = final_model(stages)
    return evaluation_of(root, stages, model[1]) if model else None


def _predictions(root: Path, key: str) -> Hashable:
    table = load_predictions(root, key, ["example_id", "mode", "sample", "predicted", "completion"])
    if table is None or table.empty:
        return None
    rows = pd.util.hash_pandas_object(table.sort_values(["example_id", "mode", "sample"]), index=False)
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()

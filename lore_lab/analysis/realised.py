"""Did the swept settings act? A note for every point whose arm shows no sign that they did. Reads manifests, curves and
predictions."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lore_lab.analysis.load import evaluation_of, final_model, load_curves, load_manifest, load_predictions, short_names

CLIP_CURVES = ("rl/clip_ratio/high_mean", "rl/clip_ratio/low_mean", "rl/clip_ratio/region_mean")
_WEIGHTS = (".safetensors", ".bin", ".pt")


class Finding(NamedTuple):
    """A reason to doubt that a point's settings acted. same_as: arms it is indistinguishable from (its own when the seed did
    nothing)."""

    point: str
    text: str
    same_as: frozenset[str]


def findings(runs: pd.DataFrame, root: str | Path | None = None) -> list[Finding]:
    """What is suspicious about finished points: a swept clip range that no token ever reached; final weights that are
    byte-identical to another arm's of the same seed, or to another seed's of the same arm, though trained apart; evaluation
    predictions that are identical in the same way."""
    root = Path(root if root is not None else runs.attrs.get("root", "outputs"))
    done = runs[runs["state"] == "done"]
    return [*_never_clipped(done, root), *_same_weights(done, root), *_same_predictions(done, root)]


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
    marks = {p: (p, _predictions(root, stages)) for p, stages in zip(suspects["point"], suspects["stages"], strict=True)}
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


def _predictions(root: Path, stages: list[tuple[str, str]]) -> Hashable:
    model = final_model(stages)
    key = evaluation_of(root, stages, model[1]) if model else None
    table = load_predictions(root, key, ["example_id", "mode", "sample", "predicted", "completion"]) if key else None
    if table is None or table.empty:
        return None
    rows = pd.util.hash_pandas_object(table.sort_values(["example_id", "mode", "sample"]), index=False)
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()

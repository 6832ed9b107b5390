"""Everything the report shows of one sweep, as plain data for the template."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from lore_lab.analysis.comparison import by_seed, pairs_of, subset_effects
from lore_lab.analysis.curves import curve_summary, headline_curves
from lore_lab.analysis.ladder import Ladder, build_ladder, plot_ladder
from lore_lab.analysis.load import latest, load_curves, load_manifest, load_point, load_runs, load_sweep, short_names
from lore_lab.analysis.palette import MOST_ARMS, arm_style
from lore_lab.analysis.realised import realised_effect
from lore_lab.analysis.report.board import ClaimCard
from lore_lab.analysis.report.charts import Chart, Scale, draw_chart, ticks
from lore_lab.analysis.report.samples import Confusion, Sample, before_and_after, confusions
from lore_lab.analysis.stats import t_interval
from lore_lab.analysis.summary import arm_table, baseline_table, failures, point_table

# Shown below the two headline curves, where they were logged.
MORE_CURVES = (
    "rl/clip_ratio/high_mean",
    "rl/clip_ratio/low_mean",
    "rl/completions/mean_length",
    "rl/frac_reward_zero_std",
    "rl/kl",
    "rl/grad_norm",
    "sft/loss",
)


@dataclasses.dataclass(frozen=True)
class Whisker:
    """An arm's paired difference as a drawn interval: positions in a 140-wide picture, 0 at `zero`."""

    low: float
    mean: float
    high: float
    zero: float


@dataclasses.dataclass(frozen=True)
class Section:
    """One sweep of the report. points, arms, baselines: tables of text. arm_keys: (label, colour, dash) of the arms that have lines. ladder: of
    a sweep over steps, with its picture as base64 PNG, in place of the arms."""

    sweep: str
    command: str
    created: str
    states: dict[str, int]
    claim: ClaimCard | None
    metric: str
    arms: pd.DataFrame
    whiskers: list[Whisker | None]
    subsets: pd.DataFrame
    baselines: pd.DataFrame
    curve_facts: pd.DataFrame
    points: pd.DataFrame
    notes: list[tuple[str, int]]
    failed: list[tuple[str, str, str, str]]
    arm_keys: list[tuple[str, str, str]]
    arms_left_out: int
    charts: list[Chart]
    more_charts: list[Chart]
    confusions: list[Confusion]
    samples: list[tuple[str, list[Sample]]]
    provenance: dict[str, str]
    config: str
    ladder: Ladder | None = None
    ladder_picture: str = ""

    @property
    def title(self) -> str:
        """What the page is called."""
        return self.claim.name if self.claim else f"Sweep {self.sweep}" if self.created else "All points"

    @property
    def id(self) -> str:
        """A name for links within the page."""
        return f"{self.claim.id}-runs" if self.claim else "".join(c if c.isalnum() else "-" for c in self.sweep)


def build_section(root: str | Path, sweep: str | None, claim: ClaimCard | None = None) -> Section:
    """Gathers one sweep (the newest point of every arm and seed of `root` when None). Unfinished sweeps are shown as far as they are."""
    root = Path(root)
    record: dict[str, Any] = load_sweep(root, sweep) if sweep else {"sweep": "all points", "command": "", "created": ""}
    runs = load_runs(root, sweep) if sweep else latest(load_runs(root))
    notes = realised_effect(runs, root)
    labels = short_names(runs["arm"])
    shown = dict(list(labels.items())[:MOST_ARMS])
    styles = [arm_style(i) for i in range(len(shown))]
    curves = load_curves(runs[runs["arm"].isin(list(shown))], root=root)
    charts, more = _charts(curves, shown)
    ladder = build_ladder(runs, record["recipe"]) if record.get("recipe") else None
    arms = arm_table(runs) if ladder is None else pd.DataFrame()
    metric = claim.metric if claim else "eval/macro_f1"
    return Section(
        sweep=record["sweep"],
        command=record["command"],
        created=record["created"],
        states={str(state): int(n) for state, n in runs["state"].value_counts().items()},
        claim=claim,
        metric=metric,
        arms=arms,
        whiskers=_whiskers(runs) if len(arms) else [],
        subsets=_subsets(runs, shown, metric) if len(arms) else pd.DataFrame(),
        baselines=baseline_table(runs),
        curve_facts=_curve_facts(curves, shown),
        points=_points(runs, notes),
        notes=_grouped(runs, notes, labels),
        failed=failures(runs),
        arm_keys=[(label, style.colour, style.svg_dash) for label, style in zip(shown.values(), styles, strict=True)],
        arms_left_out=len(labels) - len(shown),
        charts=charts,
        more_charts=more,
        confusions=confusions(root, runs[runs["arm"].isin(list(shown))], shown),
        samples=[(labels[arm], found) for arm in list(shown)[:4] if (found := before_and_after(root, runs, arm))],
        provenance=_provenance(root, runs, record),
        config=_config(root, runs),
        ladder=ladder,
        ladder_picture=base64.b64encode(plot_ladder(ladder)._repr_png_()).decode() if ladder else "",
    )


def _charts(curves: pd.DataFrame, labels: dict[str, str]) -> tuple[list[Chart], list[Chart]]:
    names = [str(name) for name in curves["name"].unique()]
    first = headline_curves(names)
    groups = (first, [name for name in MORE_CURVES if name in names and name not in first])
    head, more = ([chart for name in group if (chart := draw_chart(curves, name, labels))] for group in groups)
    return head, more


def _subsets(runs: pd.DataFrame, labels: dict[str, str], metric: str) -> pd.DataFrame:
    """One row per arm but the first, one column per subset: the paired difference with its interval, as text."""
    first, *others = labels
    rows = []
    for arm in others:
        effects = subset_effects(runs, arm, first, metric).query("seeds > 1")
        cells = {e["subset"]: f"{e['difference']:+.3f} [{e['low']:+.3f}, {e['high']:+.3f}]" for e in effects.to_dict("records")}
        rows += [{"arm": labels[arm], **cells}] if cells else []
    return pd.DataFrame(rows).fillna("")


def _curve_facts(curves: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """What the RL curves come to, per arm, as text; empty when neither entropy nor reward was logged."""
    facts = curve_summary(curves, *_law_curves(curves))
    if facts.empty:
        return facts
    means = facts.drop(columns=["point", "seed"]).groupby("arm", sort=False).mean()
    names = {"plateau_entropy": "plateau entropy", "time_to_collapse": "steps to collapse", "steps_to_90": "steps to 90 % of the gain"}
    names |= {"gain": "gain", "law_a": "a", "law_b": "b", "law_r2": "R²", "law_ceiling": "ceiling"}
    text = means[list(names)].rename(columns=names).map(lambda v: "never" if v == math.inf else "" if pd.isna(v) else f"{v:.3g}")
    text.insert(0, "arm", [labels[str(arm)] for arm in text.index])
    return text


def _law_curves(curves: pd.DataFrame) -> tuple[str, str]:
    found = headline_curves([str(name) for name in curves["name"].unique()])
    return (found[0], found[1]) if len(found) == 2 else ("rl/entropy", "rl/reward")


def _points(runs: pd.DataFrame, notes: dict[str, list[str]]) -> pd.DataFrame:
    table = point_table(runs, notes)
    if len(table):
        table.insert(3, "seconds", ["" if pd.isna(s) else f"{s:.0f}" for s in runs["seconds"]])
        table["point"] = [str(point) for point in runs["point"]]
    return table


def _grouped(runs: pd.DataFrame, notes: dict[str, list[str]], labels: dict[str, str]) -> list[tuple[str, int]]:
    """(arm: note, how many of its points have it)."""
    arm_of = dict(zip(runs["point"], runs["arm"], strict=True))
    texts = pd.Series([f"{labels[arm_of[point]]}: {text}" for point, own in notes.items() for text in own], dtype=object)
    return [(str(text), int(n)) for text, n in texts.value_counts(sort=False).items()]


def _whiskers(runs: pd.DataFrame, metric: str = "eval/macro_f1") -> list[Whisker | None]:
    """One per arm in the order of arm_table: its paired difference to the first arm, drawn beside that table's own; None where there are less
    than two pairs."""
    arms = [str(arm) for arm in runs["arm"].unique()]
    if metric not in runs:
        return [None] * len(arms)
    values = by_seed(runs, metric)
    pairs = [pairs_of(values, arm, arms[0], "drop") if arm != arms[0] else None for arm in arms]
    estimates = [t_interval(p.differences) if p and len(p.seeds) >= 2 else None for p in pairs]
    ends = [0.0, *(end for e in estimates if e for end in (e.low, e.high))]
    marks = ticks(min(ends), max(ends))
    at = Scale(marks[0], marks[-1], 6, 134)
    return [Whisker(at(e.low), at(e.mean), at(e.high), at(0)) if e else None for e in estimates]


def _provenance(root: Path, runs: pd.DataFrame, record: dict[str, Any]) -> dict[str, str]:
    """What decided the results: versions and code hashes of the stages, the commit where it was recorded, hosts, times."""
    manifests = [m for stage, key in dict.fromkeys(s for own in runs["stages"] for s in own) if (m := load_manifest(root, stage, key))]
    versions: dict[str, set[str]] = {}
    code: dict[str, set[str]] = {}
    for manifest in manifests:
        code.setdefault(manifest["stage"], set()).add(str(manifest["code"])[:12])
        for library, version in manifest["versions"].items():
            versions.setdefault(library, set()).add(str(version))
    facts = {
        "commit": str(record.get("commit") or record.get("git", "")),
        "created": str(record.get("created", "")),
        "finished": str(record.get("finished") or "not yet"),
        "points": str(len(runs)),
        "seconds of the points": f"{runs['seconds'].fillna(0).sum():.0f}" if len(runs) else "0",
        "stages": f"{len(manifests)} ({', '.join(sorted(code))})",
        "resumed stages": str(sum(m.get("resumed_from") is not None for m in manifests)),
        "versions": ", ".join(f"{library} {'/'.join(sorted(v))}" for library, v in sorted(versions.items())),
        "code of the stages": ", ".join(f"{stage} {'/'.join(sorted(hashes))}" for stage, hashes in sorted(code.items())),
    }
    return {name: value for name, value in facts.items() if value}


def _config(root: Path, runs: pd.DataFrame) -> str:
    """The resolved config of the first point that has one, as JSON."""
    for point in runs["point"]:
        config = (load_point(root, str(point)) or {}).get("config")
        if config:
            return json.dumps(config, indent=1, ensure_ascii=False)
    return ""

"""What a sweep came to: a table for the terminal, table.csv, table.md, curves.png and metric.png (over steps of a recipe steps.*) beside the
sweep's record."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from lore_lab.analysis.comparison import MAIN_METRICS, arm_estimate, by_seed, main_metrics, pairs_of
from lore_lab.analysis.ladder import Ladder, build_ladder
from lore_lab.analysis.load import load_runs, load_sweep, short_names
from lore_lab.analysis.markdown import markdown_table
from lore_lab.analysis.realised import realised_effect
from lore_lab.analysis.stats import Estimate, t_interval

# Shorter than the metric's name where the terminal is narrow.
_HEADERS = {
    "optimistic_error_share": "optimistic",
    "invalid_rate": "invalid",
    "sft macro_f1": "sft f1",
    "macro_f1 difference": "difference",
    "rule_violation_rate": "rule violations",
}

_MOST_POINTS = 40  #: more than a terminal can show
_DISPENSABLE = (
    "acc@2",
    "acc@4",
    "ndcg@10",
    "sft macro_f1",
    "optimistic_error_share",
    "invalid_rate",
    "weighted_f1",
    "rule_violation_rate",
    "adds",
)
_FOLDABLE = ("arm", "note", "adds", "after")


@dataclass(frozen=True)
class Summary:
    """A sweep's outcome. points: one row per point as text cells. arms: one row per arm as text cells. baselines: one row per
    baseline that was measured. failed: (arm, seed, last line of the error, log). folder: where table.csv, table.md and curves.png are. ladder: of a
    sweep over steps, in place of the arms. Printable by rich."""

    sweep: str
    command: str
    points: pd.DataFrame
    arms: pd.DataFrame
    baselines: pd.DataFrame
    failed: list[tuple[str, str, str, str]]
    notes: dict[str, list[str]]
    folder: Path
    ladder: Ladder | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if len(self.points) <= _MOST_POINTS or not (len(self.arms) or self.ladder):
            yield _fitting_table(f"sweep {self.sweep}", self.points, options.max_width)
        else:
            yield Text(f"sweep {self.sweep}: {len(self.points)} points, one by one in {self.folder / 'table.md'}", style="bold")
        if len(self.arms):
            title = "over seeds: mean with 95 % t interval, difference to the first arm paired by seed"
            yield _fitting_table(title, self.arms, options.max_width)
        if len(self.baselines):
            yield _fitting_table("baselines, same training and test pairs", self.baselines, options.max_width)
        if self.ladder:
            for caption, table in zip(self.ladder.captions, (self.ladder.levels, self.ladder.gains), strict=True):
                yield _fitting_table(caption, table, options.max_width)
        for arm, seed, error, log in self.failed:
            # Text, not markup: an error message may hold square brackets.
            yield Text(f"failed: {arm} seed {seed}: {error}  (log: {log})", style="red")

    def to_markdown(self) -> str:
        """The same as Markdown."""
        parts = [f"# sweep {self.sweep}", f"```\n{self.command}\n```", markdown_table(self.points)]
        if len(self.arms):
            parts += [
                "## Over seeds",
                "Mean with 95 % t interval; difference to the first arm, paired by seed.",
                markdown_table(self.arms),
            ]
        if len(self.baselines):
            parts += ["## Baselines", "Same training and test pairs.", markdown_table(self.baselines)]
        if self.ladder:
            parts.append("## Steps\n\nSee [steps.md](steps.md).")
        if self.failed:
            parts += [
                "## Failed",
                "\n".join(f"- {arm} seed {seed}: `{error}` (log: `{log}`)" for arm, seed, error, log in self.failed),
            ]
        return "\n\n".join(parts) + "\n"


def summarise_sweep(root: str | Path, sweep: str) -> Summary:
    """Summarises a sweep, finished or not, and writes table.csv (numbers), table.md, curves.png and metric.png into
    <root>/sweeps/<sweep>/; of a sweep over steps steps.csv, steps.json, steps.md and steps.png in place of metric.png."""
    from lore_lab.analysis.axes import plot_metric
    from lore_lab.analysis.figures import load_headline_curves, plot_curves

    record, runs = load_sweep(root, sweep), load_runs(root, sweep)
    notes = realised_effect(runs, root)
    folder = Path(root) / "sweeps" / sweep
    ladder = build_ladder(runs, record["recipe"]) if record.get("recipe") else None
    arms = arm_table(runs) if ladder is None else pd.DataFrame()
    summary = Summary(sweep, record["command"], point_table(runs, notes), arms, baseline_table(runs), failures(runs), notes, folder, ladder)
    numbers = runs.drop(columns=["stages"]).assign(note=["; ".join(notes.get(point, [])) for point in runs["point"]])
    numbers.to_csv(folder / "table.csv", index=False)
    (folder / "table.md").write_text(summary.to_markdown(), encoding="utf-8")
    plot_curves(load_headline_curves(runs), title=f"sweep {sweep}").savefig(folder / "curves.png")
    if ladder:
        ladder.write(folder)
    else:
        plot_metric(runs, title=f"sweep {sweep}").savefig(folder / "metric.png")
    return summary


def point_table(runs: pd.DataFrame, notes: dict[str, list[str]]) -> pd.DataFrame:
    """One row per point, as text: arm, seed, state, the main metrics (macro_f1 with its interval), note when any point has
    one."""
    names, metrics = short_names(runs["arm"]), main_metrics(runs.columns)
    rows = []
    for row in runs.to_dict("records"):
        cells = {"arm": names[row["arm"]], "seed": _text(row["seed"]), "state": str(row["state"])}
        for short, column in metrics.items():
            ends = (row.get(f"{column}/low"), row.get(f"{column}/high")) if short == "macro_f1" else (None, None)
            cells[short] = _number(row[column], *ends)
        rows.append(cells | ({"note": "; ".join(notes.get(row["point"], []))} if notes else {}))
    return pd.DataFrame(rows)


def arm_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm, as text: seeds done of all, mean of each main metric (macro_f1 with its interval), and macro_f1's paired
    difference to the first arm where there are two pairs or more. Empty when no arm has two seeds."""
    names, metrics = short_names(runs["arm"]), main_metrics(runs.columns)
    first = runs["arm"].iloc[0] if len(runs) else ""
    if runs.groupby("arm")["seed"].nunique().max() < 2 or not metrics:
        return pd.DataFrame()
    rows = []
    values = {short: by_seed(runs, column) for short, column in metrics.items()}
    for arm, own in runs.groupby("arm", sort=False):
        cells = {"arm": names[str(arm)], "seeds": f"{(own['state'] == 'done').sum()}/{len(own)}"}
        for short in metrics:
            cells[short] = _estimate(arm_estimate(values[short][str(arm)]), short == "macro_f1")
            if short == "macro_f1" and len(values[short]) > 1:
                pairs = pairs_of(values[short], str(arm), first, "drop") if arm != first else None
                enough = pairs is not None and len(pairs.seeds) >= 2
                cells["macro_f1 difference"] = _estimate(t_interval(pairs.differences), True, "+") if pairs and enough else ""
        rows.append(cells)
    return pd.DataFrame(rows)


def baseline_table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per baseline, as text: the arms it stands beside ("all", or those with data and features of their own) and the main
    metrics (macro_f1 with its interval). Empty when none was measured."""
    names = short_names(runs["arm"])
    shown = {match[1]: None for column in map(str, runs.columns) if (match := re.fullmatch(r"baseline/([^/]+)/macro_f1", column))}
    rows = []
    for baseline in shown:
        prefix = f"baseline/{baseline}"
        columns = {short: f"{prefix}/{short}" for short in MAIN_METRICS if f"{prefix}/{short}" in runs}
        measured = runs.dropna(subset=[f"{prefix}/macro_f1"])
        alike = list(measured.groupby(list(columns.values()), sort=False, dropna=False))
        for _, own in alike:
            arms = "all" if len(alike) == 1 else "; ".join(dict.fromkeys(names[arm] for arm in own["arm"]))
            first = own.iloc[0]
            ends = (first.get(f"{prefix}/macro_f1/low"), first.get(f"{prefix}/macro_f1/high"))
            cells = {short: _number(first[column], *(ends if short == "macro_f1" else (None, None))) for short, column in columns.items()}
            rows.append({"baseline": baseline, "arm": arms} | cells)
    return pd.DataFrame(rows)


def failures(runs: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """(arm, seed, the line of the error that names it, log) of every failed point."""
    failed = runs[runs["state"] == "failed"]
    return [(row["arm"], _text(row["seed"]), _error_line(_text(row["error"])), _text(row["log"])) for row in failed.to_dict("records")]


def _error_line(error: str) -> str:
    """The last line that names an exception (some messages go on below it), else the last line."""
    lines = [line for line in error.splitlines() if line.strip()] or ["no error recorded"]
    return next(
        (line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit|Warning)\b", line)), lines[-1]
    ).strip()


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _number(value: Any, low: Any = None, high: Any = None) -> str:
    if value is None or pd.isna(value):
        return ""
    interval = "" if low is None or high is None or pd.isna(low) or pd.isna(high) else f" [{low:.3f}, {high:.3f}]"
    return f"{value:.3f}{interval}"


def _estimate(estimate: Estimate | None, interval: bool, sign: str = "") -> str:
    if estimate is None:
        return ""
    known = interval and math.isfinite(estimate.low)
    return f"{estimate.mean:{sign}.3f}" + (f" [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]" if known else "")


def _fitting_table(title: str, frame: pd.DataFrame, width: int) -> Table:
    """The table without the columns that matter least, as far as `width` characters need it; the files have them all."""
    left_out: list[str] = []
    for column in (None, *(c for c in reversed(frame.columns) if c in _DISPENSABLE)):
        left_out += [column] if column else []
        kept = frame.drop(columns=left_out)
        longest = [max(kept[c].map(len).max(), len(_HEADERS.get(c, c))) for c in map(str, kept)]
        needed = sum(min(length, 28) if c in _FOLDABLE else length for c, length in zip(kept, longest, strict=True))
        if needed + 2 * len(kept.columns) + 1 <= width:
            break
    return _rich_table(title, kept, f"not shown here: {', '.join(left_out)}" if left_out else None)


def _rich_table(title: str, frame: pd.DataFrame, caption: str | None) -> Table:
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in map(str, frame.columns):
        foldable = column in _FOLDABLE
        justify: JustifyMethod = "left" if foldable or column in ("state", "step") else "right"
        table.add_column(_HEADERS.get(column, column), justify=justify, no_wrap=not foldable, overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    return table

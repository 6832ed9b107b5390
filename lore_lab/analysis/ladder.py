"""The steps towards a paper's system: what each comes to over seeds, what it adds, and what the paper reports. A table and a picture."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lore_lab.analysis.comparison import BySeed, arm_estimate, by_seed, named_metrics, pairs_of
from lore_lab.analysis.figures import Picture
from lore_lab.analysis.markdown import markdown_table
from lore_lab.analysis.measures import with_metric
from lore_lab.analysis.stats import Estimate, t_interval

#: in the order of the papers' tables; a metric that was not measured is left out
STEP_METRICS = (
    "macro_f1", "weighted_f1", "acc@4", "acc@2", "optimistic_error_share", "pass@1", "pass@k", "invalid_rate", "rule_violation_rate",
)  # fmt: skip
_HERE, _PAPER, _GRID = "#0072B2", "#D55E00", "#dddddd"
_TAGS = {"paper": "the paper", "secondary": "secondary notes"}
_NONE = Estimate(math.nan, math.nan, math.nan, math.nan, 0)


class Rung(NamedTuple):
    """One step in one metric. n: seeds that have it. mean, low, high: over them, with the 95 % t interval. against: the step it is compared
    with, "" for none; pairs: seeds that both have; difference...: paired by seed. paper, paper_difference: what the paper reports; tag: who read
    it there. Without a value nan; an interval over one seed is infinite."""

    step: str
    adds: str
    metric: str
    n: int
    mean: float
    low: float
    high: float
    against: str
    pairs: int
    difference: float
    difference_low: float
    difference_high: float
    paper: float
    paper_difference: float
    tag: str


@dataclasses.dataclass(frozen=True)
class Ladder:
    """numbers: a row a `Rung`. levels, gains: the same as text, a row a step. shows: metrics of the picture."""

    recipe: str
    source: str
    numbers: pd.DataFrame
    levels: pd.DataFrame
    gains: pd.DataFrame
    shows: tuple[str, ...]

    @property
    def captions(self) -> tuple[str, str]:
        """What the two tables show."""
        tags = [_TAGS[tag] for tag in dict.fromkeys(self.numbers.loc[self.numbers["paper"].notna(), "tag"])]
        reported = f" `paper`: what it reports on data of its own, read in {' and '.join(tags)}." if tags else ""
        return (
            f"steps of {self.recipe} ({self.source}): mean over seeds, ± the 95 % t interval.{reported}",
            "what each step adds to the one it comes after, paired by seed, ± the 95 % t interval",
        )

    def write(self, folder: Path) -> None:
        """steps.csv and steps.json (numbers), steps.md (text), steps.png."""
        self.numbers.to_csv(folder / "steps.csv", index=False)
        rows = [{key: _plain(value) for key, value in row.items()} for row in self.numbers.to_dict("records")]
        content = {"recipe": self.recipe, "source": self.source, "shows": self.shows, "steps": rows}
        (folder / "steps.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        (folder / "steps.md").write_text(self.to_markdown(), encoding="utf-8")
        plot_ladder(self).savefig(folder / "steps.png")

    def to_markdown(self) -> str:
        """Both tables as Markdown."""
        parts = [f"# {self.recipe}: {self.source}"]
        for caption, table in zip(self.captions, (self.levels, self.gains), strict=True):
            parts += [caption[0].upper() + caption[1:], markdown_table(table)]
        return "\n\n".join(parts) + "\n"


def build_ladder(runs: pd.DataFrame, recipe: Mapping[str, Any]) -> Ladder:
    """The ladder of a sweep over steps. runs: its points, named by step. recipe: as the sweep's record describes it."""
    described = {own["step"]: own for own in recipe["steps"]}
    steps = [step for step in described if step in set(runs["arm"])]
    runs, metrics = _with_metrics(runs, [*recipe["shows"], *recipe["also"]])
    values = {short: by_seed(runs, column) for short, column in metrics.items()}
    against = {step: _reference(step, steps, described) for step in steps}
    rungs = [_rung(step, against[step], short, values[short], described) for step in steps for short in metrics]
    numbers = pd.DataFrame(rungs, columns=Rung._fields)
    done = {step: f"{(own['state'] == 'done').sum()}/{len(own)}" for step, own in runs.groupby("arm", sort=False)}
    levels = {step: {"step": step, "adds": described[step]["adds"], "seeds": done[step]} for step in steps}
    gains = {step: {"step": step, "after": against[step] or ""} for step in steps}
    reported = {rung.metric for rung in rungs if math.isfinite(rung.paper)}
    for rung in rungs:
        levels[rung.step][rung.metric] = _cell(rung.mean, rung.high)
        gains[rung.step][rung.metric] = _cell(rung.difference, rung.difference_high, "+")
        if rung.metric in reported:
            levels[rung.step][f"paper {rung.metric}"] = _cell(rung.paper)
            gains[rung.step][f"paper {rung.metric}"] = _cell(rung.paper_difference, sign="+")
    shows = tuple(short for shown in recipe["shows"] if (short := _short(shown)) in metrics)
    return Ladder(
        recipe["name"], recipe["source"], numbers, pd.DataFrame(list(levels.values())), pd.DataFrame(list(gains.values())), shows
    )  # fmt: skip


def _with_metrics(runs: pd.DataFrame, shows: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """(runs with a column a metric, short name -> column): the papers' metrics and those the recipe shows, as far as they were measured."""
    metrics = named_metrics(runs.columns, STEP_METRICS)
    for shown in shows:
        try:
            runs = with_metric(runs, shown)
        except KeyError:  # no point of these steps has it
            continue
        metrics |= {_short(shown): shown}
    return runs, metrics


def _short(metric: str) -> str:
    return metric.removeprefix("eval/")


def _reference(step: str, steps: Sequence[str], described: Mapping[str, Any]) -> str | None:
    """The nearest step before `step` that was run."""
    before = described[step]["after"]
    while before and before not in steps:
        before = described[before]["after"]
    return before or None


def _rung(step: str, against: str | None, metric: str, values: BySeed, steps: Mapping[str, Any]) -> Rung:
    level = arm_estimate(values[step]) or _NONE
    pairs = pairs_of(values, step, against, "drop").differences if against else ()
    gain = t_interval(pairs) if len(pairs) else _NONE
    paper, before = (steps[name]["paper"].get(metric, math.nan) if name else math.nan for name in (step, against))
    return Rung(
        step, steps[step]["adds"], metric, level.n, level.mean, level.low, level.high, against or "", gain.n, gain.mean, gain.low, gain.high,
        paper, paper - before, steps[step]["tag"],
    )  # fmt: skip


def _cell(mean: float, high: float = math.nan, sign: str = "") -> str:
    """A mean and half of its interval, as far as they are finite; figures above 10 (steps, tokens) with one digit behind the point."""
    if not math.isfinite(mean):
        return ""
    digits = 1 if abs(mean) >= 10 else 3
    return f"{mean:{sign}.{digits}f}" + (f" ±{high - mean:.{digits}f}" if math.isfinite(high) else "")


def _plain(value: Any) -> Any:
    """For JSON: a number that is not finite is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plot_ladder(ladder: Ladder) -> Picture:
    """A row of panels a shown metric: what each step comes to here, what the paper reports (hollow, on an axis of its own, for its data are
    others), and what each step adds, here and in the paper."""
    steps = list(dict.fromkeys(ladder.numbers["step"]))
    rows = [ladder.numbers[ladder.numbers["metric"] == short] for short in ladder.shows]
    figure = Picture(figsize=(12.0, max(1, len(rows)) * (1.1 + 0.34 * len(steps)) + 0.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    if not any(own["mean"].notna().any() for own in rows):
        figure.text(0.5, 0.5, "nothing measured yet", ha="center", va="center", color="#222222")
        return figure
    reported = any(own["paper"].notna().any() for own in rows)
    panels = figure.subplots(len(rows), 2 + reported, squeeze=False, sharey=True)
    for (level, *paper, gain), own, short in zip(panels, rows, ladder.shows, strict=True):
        _draw(level, own, ("mean", "low", "high"), _HERE, f"{short}, here")
        for axis in paper:
            if own["paper"].notna().any():
                _draw(axis, own, ("paper",), _PAPER, f"{short}, in the paper")
            else:
                axis.set_axis_off()
        _draw(gain, own, ("difference", "difference_low", "difference_high"), _HERE, f"{short}: added to the step it comes after")
        _draw(gain, own, ("paper_difference",), _PAPER)
        gain.axvline(0, color="#888888", linewidth=0.8)
        level.set_yticks(range(len(steps)), steps, fontsize=9)
        level.set_ylim(len(steps) - 0.5, -0.5)
    seeds = int(ladder.numbers["n"].max())
    hollow = "; hollow: reported by the paper, on its own data" if reported else ""
    figure.suptitle(
        f"{ladder.recipe} step by step: mean of {seeds} seed{'s' * (seeds > 1)}, 95 % t interval{hollow}", fontsize=10, x=0.01, ha="left"
    )
    return figure


def _draw(axis: Axes, own: pd.DataFrame, columns: tuple[str, ...], colour: str, title: str = "") -> None:
    """The first column as a mark a step, at its place from above; with the two others as its interval where they are finite."""
    mean, *ends = (own[column].to_numpy(dtype=float) for column in columns)
    places = list(range(len(own)))
    if ends:
        low, high = ends
        for place, left, right in zip(places, low, high, strict=True):
            if math.isfinite(left) and math.isfinite(right):
                axis.plot([left, right], [place, place], color=colour, linewidth=1.8)
    axis.plot(mean, places, color=colour, linestyle="none", marker="o", markersize=6, markerfacecolor=colour if ends else "white")
    if title:
        axis.set_title(title, fontsize=9, loc="left")
    axis.grid(color=_GRID, linewidth=0.6, axis="x")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(labelsize=8, left=False)

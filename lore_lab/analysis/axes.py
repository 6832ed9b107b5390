"""A metric over the axes of a sweep as a picture: over a number, such as data.size, or over choices, such as features and prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from pandas.api.types import is_numeric_dtype

from lore_lab.analysis.comparison import arm_estimate
from lore_lab.analysis.figures import Picture
from lore_lab.analysis.palette import MOST_ARMS, arm_style

_WIDE = 8  #: largest value over smallest from which a number's axis is logarithmic
_ROOM = 60  #: characters of tick labels that fit side by side


def plot_metric(runs: pd.DataFrame, metric: str = "eval/macro_f1", *, title: str | None = None) -> Picture:
    """`metric` of the finished points over one axis (a number where there is one, else the last), a line for each combination of the others.

    runs: of one sweep. Points: mean over seeds with a 95 % t interval; with one seed, the evaluation's own interval over test pairs. Grey: the
    same metric of the baselines, where a sweep has one axis. Shows at most 12 lines and says so.
    """
    done = runs[runs["state"] == "done"]
    axes = [axis for axis in runs.attrs.get("axes", []) if done[axis].nunique() > 1]
    figure = Picture(figsize=(6.4, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    if not axes or metric not in done:
        figure.text(0.5, 0.5, "nothing to compare yet", ha="center", va="center", color="#222222")
        return figure
    over = next((axis for axis in axes if is_numeric_dtype(done[axis])), axes[-1])
    others = [axis for axis in axes if axis != over]
    places, ordered = _places(done[over]), is_numeric_dtype(done[over])
    panel = figure.subplots()
    lines = list(done.groupby(others, sort=False)) if others else [((), done)]
    for index, (names, own) in enumerate(lines[:MOST_ARMS]):
        label = ", ".join(f"{axis.rpartition('.')[2]} {value}" for axis, value in zip(others, names, strict=True)) or "policy"
        style = arm_style(index)
        means = list(_means(own, over, metric))
        beside = 0.0 if ordered else 0.08 * (index - (min(len(lines), MOST_ARMS) - 1) / 2)  # choices: intervals side by side
        panel.errorbar(
            [places[value] + beside for value, *_ in means], [mean for _, mean, *_ in means],
            yerr=[[below for *_, below, _ in means], [above for *_, above in means]],
            color=style.colour, linestyle=style.dash if ordered or others else "none", marker="o", markersize=4, capsize=3, label=label,
        )  # fmt: skip
    for name in _baselines(done, metric) if not others else ():
        level = done.groupby(over, sort=ordered)[f"baseline/{name}/{metric.rpartition('/')[2]}"].mean()
        panel.plot([places[value] for value in level.index], level.to_numpy(), color="#999999", linestyle=":", marker=".")
        end = (places[level.index[-1]], float(level.iloc[-1]))
        panel.annotate(name, end, xytext=(6, 0), textcoords="offset points", fontsize=8, color="#666666")
    _label(panel, over, done[over], places)
    panel.set_ylabel(metric, fontsize=9)
    panel.legend(fontsize=8, frameon=False)
    seeds = done["seed"].nunique()
    interval = f"mean of {seeds} seeds, 95 % t interval" if seeds > 1 else "one seed, interval over test pairs"
    cut = "" if len(lines) <= MOST_ARMS else f"; the first {MOST_ARMS} of {len(lines)} lines"
    figure.suptitle(f"{title + ': ' if title else ''}{interval}{cut}", fontsize=10, x=0.01, ha="left")
    return figure


def _places(column: pd.Series) -> dict[object, float]:
    """Value -> where it stands: at itself if it is a number, else in the order of the sweep."""
    values = list(dict.fromkeys(column))
    return {value: float(value) if is_numeric_dtype(column) else float(place) for place, value in enumerate(values)}


def _means(own: pd.DataFrame, over: str, metric: str) -> Iterator[tuple[object, float, float, float]]:
    """(value of the axis, mean, distance to the lower end of the interval, to the upper), in the order of the axis."""
    for value, points in own.groupby(over, sort=is_numeric_dtype(own[over])):
        estimate = arm_estimate(dict(zip(points["seed"].astype(int), points[metric], strict=True)))
        if estimate is None:
            continue
        low, high = estimate.low, estimate.high
        if len(points) == 1 and f"{metric}/low" in points:
            low, high = points[f"{metric}/low"].iloc[0], points[f"{metric}/high"].iloc[0]
        known = math.isfinite(low) and math.isfinite(high)
        yield value, estimate.mean, max(estimate.mean - low, 0.0) if known else 0.0, max(high - estimate.mean, 0.0) if known else 0.0


def _baselines(done: pd.DataFrame, metric: str) -> list[str]:
    pattern = re.compile(rf"baseline/([^/]+)/{re.escape(metric.rpartition('/')[2])}")
    return [match[1] for column in map(str, done.columns) if (match := pattern.fullmatch(column))]


def _label(panel: Any, over: str, column: pd.Series, places: dict[object, float]) -> None:
    panel.set_xlabel(over, fontsize=9)
    values = list(places.values())
    if is_numeric_dtype(column) and min(values) > 0 and max(values) / min(values) >= _WIDE:
        panel.set_xscale("log")
    crowded = sum(len(str(value)) for value in places) > _ROOM
    panel.set_xticks(values, [str(value) for value in places], fontsize=9, rotation=90 if crowded else 0)
    panel.minorticks_off()
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)

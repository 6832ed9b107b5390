"""The frontier as a picture: what each split of the thresholds costs, how long it lets people wait, and how good its answers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lore_lab.deploy.replay import pareto

_PANELS = (("cost", "cost: LLM tokens, in the LLM answering everything"), ("p99_ms", "p99, ms: times measured, waits modelled"))
_WORTH = (("good_rate", "GoodRate"), ("macro_f1", "macro-F1"))


def named(frontier: pd.DataFrame, thresholds: dict[str, Any]) -> dict[str, pd.Series]:
    """The rows everybody asks for: the LLM alone, the ranker alone, and the point's own thresholds where they are among the splits."""
    wanted = {"LLM alone": (None, None), "ranker alone": (None, 0), "chosen": (thresholds["hot_from"], thresholds["medium_from"])}
    return {
        name: rows.iloc[0]
        for name, (hot, medium) in wanted.items()
        if len(rows := frontier[_is(frontier["hot_from"], hot) & _is(frontier["medium_from"], medium)])
    }


def _is(column: pd.Series, value: int | None) -> pd.Series:
    return column.isna() if value is None else column.eq(value).fillna(False)


def plot_frontier(frontier: pd.DataFrame, thresholds: dict[str, Any], path: Path) -> None:
    """Cost and p99 against GoodRate and macro-F1; a point is a split, the line joins those no other beats on both."""
    figure = Figure(figsize=(11, 7.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for line, (worth, meaning) in zip(figure.subplots(2, 2, sharey="row"), _WORTH, strict=True):
        for axis, (price, title) in zip(line, _PANELS, strict=True):
            x, y = frontier[price].to_numpy(float), frontier[worth].to_numpy(float)
            shares = axis.scatter(x, y, c=frontier["share/llm"].to_numpy(float), cmap="viridis", vmin=0, vmax=1, s=16, linewidths=0)
            best = np.flatnonzero(pareto(x, y))
            best = best[np.argsort(x[best])]
            axis.plot(x[best], y[best], color="#222222", linewidth=1, drawstyle="steps-post")
            for (name, row), marker in zip(named(frontier, thresholds).items(), ("s", "^", "*"), strict=False):
                axis.plot(row[price], row[worth], marker, color="#D55E00", markersize=10, markerfacecolor="none", label=name)
            axis.set_xscale("log")
            axis.set_xlabel(title, fontsize=9)
            axis.grid(color="#dddddd", linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(meaning, fontsize=10)
    figure.legend(*line[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    figure.colorbar(shares, ax=figure.axes, label="share of requests that go to the LLM", shrink=0.6)
    figure.suptitle("Every split of the thresholds; line: no other split is both cheaper and better", fontsize=11, x=0.01, ha="left")
    figure.savefig(path)

"""Figures of curves with a line per arm and a band over its seeds. Colours are safe for colour blindness, dashes survive a grey
print."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lore_lab.analysis.curves import headline_curves, seed_bands
from lore_lab.analysis.load import load_curves, load_runs, short_names
from lore_lab.analysis.palette import MOST_ARMS, OUTCOMES, TITLES, arm_style

_STYLE = {"grid.color": "#dddddd", "text.color": "#222222", "label.color": "#222222"}


class Picture(Figure):
    """A figure that a notebook shows without further set-up. Not tied to pyplot: nothing stays open."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def plot_curves(
    curves: pd.DataFrame,
    names: Sequence[str] | None = None,
    *,
    window: int | None = None,
    title: str | None = None,
    labels: dict[str, str] | None = None,
) -> Picture:
    """One panel per curve name, one line per arm (mean over seeds), a band from the lowest to the highest seed.

    curves: as load_curves gives them. names: the entropy and the accuracy or reward curve when None. window: running mean over so
    many steps within each seed (1: none; None: a fiftieth of the run). labels: arm -> legend text. Shows at most 12 arms and
    says so.
    """
    names = list(names) if names is not None else headline_curves([str(n) for n in curves["name"].unique()])
    arms = [str(arm) for arm in curves["arm"].unique()]
    labels = short_names(arms) | (labels or {})
    shown = arms[:MOST_ARMS]
    figure = Picture(figsize=(5.6 * max(len(names), 1), 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    if not names or curves.empty:
        figure.text(0.5, 0.5, "no curves yet", ha="center", va="center", color=_STYLE["text.color"])
        return figure
    chosen = curves[curves["arm"].isin(shown)]
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        steps = window or max(1, int(chosen.loc[chosen["name"] == name, "step"].nunique()) // 50)
        for arm, band in seed_bands(chosen, name, window=steps).items():
            style = arm_style(shown.index(arm))
            axis.plot(band.index, band["mean"], color=style.colour, linestyle=style.dash, linewidth=1.8, label=labels[arm])
            axis.fill_between(band.index, band["low"], band["high"], color=style.colour, alpha=0.15, linewidth=0)
        axis.set_title(TITLES.get(name, name), fontsize=11, loc="left")
        axis.set_xlabel(f"step of {name.partition('/')[0]}" + (f", running mean over {steps}" if steps > 1 else ""), fontsize=9)
        axis.grid(color=_STYLE["grid.color"], linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    handles, texts = axes[0].get_legend_handles_labels()
    note = "" if len(arms) <= MOST_ARMS else f"the first {MOST_ARMS} of {len(arms)} arms; "
    figure.legend(handles, texts, loc="outside lower center", ncols=min(3, max(1, len(texts))), fontsize=9, frameon=False, handlelength=3)
    heading = f"{title}  ({note}line: mean, band: range of seeds)" if title else note.removesuffix("; ")
    figure.suptitle(heading, fontsize=11, x=0.01, ha="left")
    return figure


def plot_verdicts(table: pd.DataFrame, *, title: str | None = None) -> Picture:
    """One line an arm: its effect with the 95 % interval, in units of the smallest effect of interest (the grey band is +-1).

    table: columns effect, low, high, outcome, smallest_effect, arm and, where there are several claims, name: rows of load_claims, or a
    verdict_table with its smallest_effect added. Rows without an effect are left out.
    """
    rows = table.dropna(subset=["effect"]).reset_index(drop=True)
    figure = Picture(figsize=(8.4, 1.2 + 0.34 * max(len(rows), 1)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    if rows.empty:
        figure.text(0.5, 0.5, "nothing measured yet", ha="center", va="center", color=_STYLE["text.color"])
        return figure
    axis = figure.subplots()
    axis.axvspan(-1, 1, color="#eeeeee", zorder=0)
    axis.axvline(0, color="#888888", linewidth=0.8, zorder=1)
    scaled = rows[["effect", "low", "high"]].astype(float).div(rows["smallest_effect"].astype(float), axis=0).to_numpy()
    for place, (outcome, (mean, low, high)) in enumerate(zip(rows["outcome"], scaled, strict=True)):
        colour, marker = OUTCOMES[outcome]
        axis.plot([low, high], [place, place], color=colour, linewidth=1.8)
        axis.plot(mean, place, marker=marker, color=colour, markersize=6)
    names = rows["name"] + " · " + rows["arm"] if "name" in rows else rows["arm"]
    axis.set_yticks(range(len(rows)), [f"{name}: {outcome}" for name, outcome in zip(names, rows["outcome"], strict=True)], fontsize=9)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("effect with its 95 % interval, in smallest effects of interest", fontsize=9)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(labelsize=9, left=False)
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def plot_sweep(root: str | Path = "outputs", sweep: str | None = None, path: str | Path | None = None) -> Picture:
    """Entropy beside accuracy or reward of one sweep (of all runs when None). path: also written there (PNG, SVG or PDF by its
    end)."""
    runs = load_runs(root, sweep)
    figure = plot_curves(load_headline_curves(runs), title=sweep or "all runs")
    if path is not None:
        figure.savefig(Path(path))
    return figure


def load_headline_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """The curves of the two figures everyone looks at first: entropy and accuracy or reward, of the arms a figure can show."""
    shown = runs[runs["arm"].isin(runs["arm"].unique()[:MOST_ARMS])]
    curves = load_curves(shown)
    return curves[curves["name"].isin(headline_curves([str(n) for n in curves["name"].unique()]))]

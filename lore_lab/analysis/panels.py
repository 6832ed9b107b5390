"""Pictures of many arms: one small panel each on common axes, for twenty lines in one frame cannot be told apart. Readable in grey."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lore_lab.analysis.curves import fit_or_nan, plateau, seed_bands
from lore_lab.analysis.figures import Picture

_COLUMNS = 5
_OWN, _BASE, _GRID = "#0072B2", "#7F7F7F", "#dddddd"
_FRAME = 3.0  #: a frame is at most this many times as high as the baseline: one arm that explodes must not flatten the others


def plot_entropy(curves: pd.DataFrame, name: str, labels: Mapping[str, str], baseline: str | None = None) -> Picture:
    """Curve `name` of every arm in `labels` (arm -> title): mean over seeds with a band over their range, the baseline behind it in grey.

    Panels by falling plateau, which their title gives.
    """
    window = max(1, int(curves.loc[curves["name"] == name, "step"].nunique()) // 50)
    bands = {arm: band for arm, band in seed_bands(curves, name, window=window).items() if arm in labels}
    plateaus = {arm: plateau(band["mean"]) for arm, band in bands.items()}
    base = bands.get(baseline or "")
    highest = max((float(band["high"].max()) for band in bands.values()), default=1.0)
    top = highest if base is None else min(highest, _FRAME * float(base["high"].max()))

    def draw(axis: Axes, arm: str) -> None:
        band = bands[arm]
        if base is not None and arm != baseline:
            axis.plot(base.index, base["mean"], color=_BASE, linestyle="--", linewidth=1.0)
        axis.fill_between(band.index, band["low"], band["high"], color=_OWN, alpha=0.25, linewidth=0)
        axis.plot(band.index, band["mean"], color=_OWN, linewidth=1.5)
        left = " (cut)" if band["high"].max() > top else ""
        axis.set_title(f"{labels[arm]}: {plateaus[arm]:.3f}{left}", fontsize=8, loc="left")

    arms = sorted(bands, key=lambda arm: -plateaus[arm])
    title = f"{name} (nats a token), plateau in the title; line: mean over seeds, band: their range" + (
        "" if base is None else f"; dashed: {labels[str(baseline)]}"
    )
    below = "step of rl" + (f", running mean over {window}" if window > 1 else "")
    return _grid(arms, draw, title, below, (0.0, 1.05 * top))


def plot_law(points: pd.DataFrame, labels: Mapping[str, str]) -> Picture:
    """R = -a exp(H) + b for every arm in `labels`, over the points of all its seeds. points: as `law_points` gives them.

    Each panel has axes of its own: what matters is how well the line goes through its points.
    """
    of_arm = {str(arm): own for arm, own in points.groupby("arm", observed=True, sort=False) if arm in labels}

    def draw(axis: Axes, arm: str) -> None:
        own = of_arm[arm]
        law = fit_or_nan(own)
        axis.scatter(own["entropy"], own["reward"], s=7, color=_OWN, alpha=0.6, linewidth=0)
        x = np.linspace(float(own["entropy"].min()), float(own["entropy"].max()), 100)
        axis.plot(x, -law.a * np.exp(x) + law.b, color="black", linewidth=1.0)
        axis.set_title(f"{labels[arm]}\nR² {law.r2:.2f}, ceiling {law.ceiling:.2f}", fontsize=8, loc="left")

    title = "reward over entropy, all seeds of an arm; line: R = -a exp(H) + b; ceiling: R at H = 0; axes of their own"
    return _grid(list(of_arm), draw, title, "entropy (nats a token)")


def plot_orders(orders: Mapping[str, pd.DataFrame]) -> Picture:
    """Difficulty of the prompts over the steps that visited them. orders: title -> table with step, difficulty.

    A dot is a prompt; the line is the median of its generation batch, the band the middle half.
    """

    def draw(axis: Axes, title: str) -> None:
        order = orders[title]
        batch = order.groupby("step")["difficulty"]
        axis.scatter(order["step"], order["difficulty"], s=4, color=_BASE, alpha=0.35, linewidth=0)
        axis.fill_between(batch.median().index, batch.quantile(0.25), batch.quantile(0.75), color=_OWN, alpha=0.25, linewidth=0)
        axis.plot(batch.median(), color=_OWN, linewidth=1.5)
        axis.set_title(title, fontsize=8, loc="left")

    return _grid(
        list(orders), draw, "difficulty of the visited prompts; line: median of a batch, band: middle half", "step of rl", (-0.03, 1.03)
    )


def _grid(
    names: Sequence[str], draw: Callable[[Axes, str], None], title: str, below: str, limits: tuple[float, float] | None = None
) -> Picture:
    """One panel a name, drawn by `draw`; on common axes with these `limits` upwards, or each on its own."""
    columns = min(_COLUMNS, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = Picture(figsize=(max(2.3 * columns, 6.0), 1.7 * rows + 0.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title if names else "nothing to show yet", fontsize=9, x=0.01, ha="left", wrap=True)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=limits is not None, sharey=limits is not None).ravel()
    for axis, name in zip(axes, names, strict=False):
        draw(axis, name)
        if limits is not None:
            axis.set_ylim(*limits)
        axis.grid(color=_GRID, linewidth=0.5)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=7)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    for axis in axes[: len(names)][-columns:]:  # the lowest of each column, also above an empty place
        axis.tick_params(labelbottom=True)
    figure.supxlabel(below, fontsize=8)
    return figure

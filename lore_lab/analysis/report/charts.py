"""Curves and intervals as inline SVG: readable without scripts, hovered and toggled with them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

from lore_lab.analysis.curves import seed_bands
from lore_lab.analysis.palette import MOST_ARMS, TITLES, arm_style

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 10, 34
MOST_STEPS = 240  #: more than a screen shows; keeps the file small


@dataclasses.dataclass(frozen=True)
class Line:
    """One arm's line: SVG paths of its mean and its band over seeds. arm: its place among the arms."""

    arm: int
    label: str
    colour: str
    dash: str
    path: str
    band: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """One curve name. ticks: (position, text). data: what the script needs to answer a hover, plain data for JSON."""

    name: str
    title: str
    x_label: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    data: dict[str, Any]


def draw_chart(curves: pd.DataFrame, name: str, labels: dict[str, str]) -> Chart | None:
    """The chart of one curve over the first arms of `labels` (arm -> text); None when no arm has it."""
    arms = list(labels)[:MOST_ARMS]
    own = curves[(curves["name"] == name) & curves["arm"].isin(arms)]
    if own.empty:
        return None
    window = max(1, int(own["step"].nunique()) // 50)
    bands = {arm: _thin(band) for arm, band in seed_bands(own, name, window=window).items()}
    x_low, x_high = (float(f(f(band.index) for band in bands.values())) for f in (min, max))
    y_low, y_high = float(min(b["low"].min() for b in bands.values())), float(max(b["high"].max() for b in bands.values()))
    x_ticks, y_ticks = ticks(x_low, x_high), ticks(y_low, y_high)
    x_at = Scale(min(x_low, x_ticks[0]), max(x_high, x_ticks[-1]), LEFT, WIDTH - RIGHT)
    y_at = Scale(min(y_low, y_ticks[0]), max(y_high, y_ticks[-1]), HEIGHT - BOTTOM, TOP)
    lines = [_line(arms.index(arm), labels[arm], band, x_at, y_at) for arm, band in bands.items()]
    return Chart(
        name=name,
        title=TITLES.get(name, name),
        x_label=f"step of {name.partition('/')[0]}" + (f", running mean over {window}" if window > 1 else ""),
        lines=lines,
        x_ticks=[(x_at(t), _short(t)) for t in x_ticks],
        y_ticks=[(y_at(t), _short(t)) for t in y_ticks],
        data={
            "x": [x_at.low, x_at.high],
            "arms": [{"arm": arms.index(arm), "label": labels[arm], **_rounded(band)} for arm, band in bands.items()],
        },
    )


@dataclasses.dataclass(frozen=True)
class Scale:
    """Maps [low, high] of the data to [start, end] of the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        width = self.high - self.low or 1.0
        return round(self.start + (value - self.low) / width * (self.end - self.start), 1)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from at most `low` to at least `high`, about as many as asked for."""
    width = high - low or abs(high) or 1.0
    raw = width / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def _line(index: int, label: str, band: pd.DataFrame, x_at: Scale, y_at: Scale) -> Line:
    x = [x_at(step) for step in band.index]
    mean, low, high = ([y_at(value) for value in band[c]] for c in ("mean", "low", "high"))
    style = arm_style(index)
    outline = [*zip(x, high, strict=True), *zip(reversed(x), reversed(low), strict=True)]
    return Line(index, label, style.colour, style.svg_dash, _path(list(zip(x, mean, strict=True))), _path(outline) + "Z")


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in points)


def _thin(band: pd.DataFrame) -> pd.DataFrame:
    if len(band) <= MOST_STEPS:
        return band
    return band.iloc[np.unique(np.linspace(0, len(band) - 1, MOST_STEPS).astype(int))]


def _rounded(band: pd.DataFrame) -> dict[str, list[float]]:
    columns = {c: [float(f"{value:.4g}") for value in band[c]] for c in ("mean", "low", "high")}
    return {"step": [int(step) for step in band.index], **columns}


def _short(value: float) -> str:
    return f"{value:g}"

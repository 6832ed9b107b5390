"""The picture of a metric over a sweep's axes: what is drawn where, read back from the figure."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lore_lab.analysis import plot_metric


def runs_of(axes: dict[str, list], seeds: int, value) -> pd.DataFrame:
    rows = []
    for *choice, seed in product(*axes.values(), range(seeds)):
        mean = value(*choice) + 0.01 * seed**2
        row = dict(zip(axes, choice, strict=True)) | {"state": "done", "arm": str(choice), "seed": seed}
        rows.append(row | {"eval/macro_f1": mean, "eval/macro_f1/low": mean - 0.1, "eval/macro_f1/high": mean + 0.2})
    runs = pd.DataFrame(rows)
    runs.attrs["axes"] = list(axes)
    return runs


def drawn(figure) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(x, y, ends of the intervals) of each line."""
    panel = figure.axes[0]
    return [
        (box[0].get_xdata(), box[0].get_ydata(), np.array([segment[:, 1] for segment in box[2][0].get_segments()]))
        for box in panel.containers
    ]


def test_a_number_is_drawn_at_its_place_with_the_t_interval_over_seeds() -> None:
    runs = runs_of({"data.size": [6400, 400, 1600]}, 3, lambda size: size / 10000)
    figure = plot_metric(runs)
    ((x, y, ends),) = drawn(figure)
    assert x.tolist() == [400, 1600, 6400]
    assert figure.axes[0].get_xscale() == "log"
    values = np.array([0.04, 0.05, 0.08])
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert y[0] == pytest.approx(values.mean())
    assert ends[0] == pytest.approx([values.mean() - half, values.mean() + half])


def test_with_one_seed_the_interval_is_that_of_the_evaluation() -> None:
    figure = plot_metric(runs_of({"features": ["title", "full"], "prompt": ["short", "long"]}, 1, lambda *_: 0.3))
    lines = drawn(figure)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["features title", "features full"]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["short", "long"]
    assert all(ends == pytest.approx(np.array([[0.2, 0.5]] * 2)) for *_, ends in lines)


def test_baselines_stand_beside_one_axis_at_their_own_places() -> None:
    runs = runs_of({"data.size": [1600, 400]}, 2, lambda size: 0.2)
    runs["baseline/tfidf/macro_f1"] = runs["data.size"] / 10000
    attrs = {"axes": ["data.size"]}
    runs.attrs.update(attrs)
    figure = plot_metric(runs)
    line = next(line for line in figure.axes[0].lines if line.get_linestyle() == ":")
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([400, 1600], pytest.approx([0.04, 0.16]))


def test_points_that_are_not_done_and_axes_that_do_not_vary_are_left_out() -> None:
    runs = runs_of({"data.size": [400, 1600], "prompt": ["short"]}, 2, lambda *_: 0.2)
    runs.loc[runs["data.size"] == 1600, "state"] = "failed"
    figure = plot_metric(runs)
    assert [text.get_text() for text in figure.texts] == ["nothing to compare yet"]

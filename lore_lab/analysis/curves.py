"""What a training curve comes to: bands over seeds, time to collapse, plateau, gain, and the entropy-reward law. Pure
functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Curves worth showing first, by what they tell; the first one that was logged is taken.
ENTROPY_CURVES = ("rl/lore/entropy_decision", "rl/lore/entropy_label", "rl/entropy")
GAIN_CURVES = ("rl/lore/accuracy", "rl/reward", "rl/lore/probe/accuracy")


class EntropyLaw(NamedTuple):
    """R = -a exp(H) + b (Cui et al. 2025, 2505.22617). ceiling: the reward at H = 0, which is b - a. n: points fitted."""

    a: float
    b: float
    r2: float
    ceiling: float
    n: int


def smooth(values: ArrayLike, window: int) -> Floats:
    """Centred running mean of `values` (n,) over `window` steps; at the ends over what there is. nan values are left out."""
    return pd.Series(np.asarray(values, dtype=float)).rolling(window, center=True, min_periods=1).mean().to_numpy()


def seed_bands(curves: pd.DataFrame, name: str, *, window: int = 1) -> dict[str, pd.DataFrame]:
    """Arm -> table indexed by step with mean, low, high (lowest and highest seed) and n (seeds that got there).

    window: running mean over so many logged steps within each seed, before the seeds are put together.
    """
    chosen = curves[curves["name"] == name]
    every = chosen.pivot(index="step", columns="point", values="value")
    if window > 1:
        # Only over the steps a seed has: points of different lengths, or logged at different steps, leave holes in the common index.
        every = every.rolling(window, center=True, min_periods=1).mean().where(every.notna())
    points = chosen[["arm", "point"]].drop_duplicates().groupby("arm", observed=True, sort=False)["point"]
    bands = {}
    for arm, own in points:
        wide = every[list(own)].dropna(how="all")
        bands[str(arm)] = pd.DataFrame(
            {"mean": wide.mean(axis=1), "low": wide.min(axis=1), "high": wide.max(axis=1), "n": wide.count(axis=1)}
        )
    return bands


def pick(names: Sequence[str], wanted: Sequence[str], words: Sequence[str]) -> str | None:
    """The first of `wanted` that is among `names`, else the first name that holds one of `words`; None when there is none."""
    there = [name for name in wanted if name in names] + [name for word in words for name in sorted(names) if word in name]
    return there[0] if there else None


def headline_curves(names: Sequence[str]) -> list[str]:
    """The entropy curve and the accuracy or reward curve to show first, of those logged; at most two, fewer when not there."""
    found = [pick(names, ENTROPY_CURVES, ("rl/entropy",)), pick(names, GAIN_CURVES, ("rl/accuracy", "rl/reward"))]
    return [name for name in found if name]


def time_to_collapse(steps: ArrayLike, entropy: ArrayLike, *, share: float = 0.2, window: int | None = None) -> float:
    """The first step from which the smoothed entropy stays under `share` of its start for at least a twentieth of the curve.

    The start is the mean of the first twentieth; window: running mean over so many values, a twentieth of the curve when None.
    inf when it never happens.
    """
    x, y = _curve(steps, entropy)
    twentieth = max(1, y.size // 20)
    below = smooth(y, window or twentieth) < share * y[:twentieth].mean()
    run = 0
    for i, under in enumerate(below):
        run = run + 1 if under else 0
        if run == twentieth:
            return float(x[i - twentieth + 1])
    return math.inf


def plateau(values: ArrayLike, *, share: float = 0.2) -> float:
    """Mean of the last `share` of the curve (at least one value): the plateau entropy, or the final reward."""
    y = np.asarray(values, dtype=float)
    y = y[np.isfinite(y)]
    return float(y[-max(1, round(share * y.size)) :].mean()) if y.size else math.nan


def steps_to_gain(steps: ArrayLike, reward: ArrayLike, *, share: float = 0.9, least_gain: float = 0.0, window: int | None = None) -> float:
    """The first step at which the smoothed reward has made `share` of its whole gain.

    The gain goes from the mean of the first twentieth of the curve to its plateau; window as in time_to_collapse. nan when the gain is
    not above `least_gain`: a run that did not learn has no such step.
    """
    x, y = _curve(steps, reward)
    twentieth = max(1, y.size // 20)
    first, last = float(y[:twentieth].mean()), plateau(y)
    if last - first <= least_gain:
        return math.nan
    reached = smooth(y, window or twentieth) >= first + share * (last - first)
    return float(x[reached.argmax()]) if reached.any() else math.inf


def steps_to_converge(steps: ArrayLike, values: ArrayLike, *, share: float = 0.95, window: int | None = None) -> float:
    """The first step at which the smoothed curve is at `share` of its final value: convergence steps.

    For curves that grow and are positive, such as a reward or an accuracy. The final value is the plateau (mean of the last fifth), window as in
    time_to_collapse. Of the value, where steps_to_gain asks for a share of the gain: a curve that starts high converges early. inf where the
    smoothed curve never gets there.
    """
    x, y = _curve(steps, values)
    reached = smooth(y, window or max(1, y.size // 20)) >= share * plateau(y)
    return float(x[reached.argmax()]) if reached.any() else math.inf


def fit_entropy_law(entropy: ArrayLike, reward: ArrayLike) -> EntropyLaw:
    """Least squares of R = -a exp(H) + b, linear in exp(H). entropy: nats, (n,); reward: (n,); pairs with a nan are left out.

    R2 is nan where the reward is constant. Raises ValueError with fewer than 3 pairs or one single entropy: the line is not
    determined.
    """
    h, r = np.asarray(entropy, dtype=float), np.asarray(reward, dtype=float)
    whole = np.isfinite(h) & np.isfinite(r)
    x, y = np.exp(h[whole]), r[whole]
    if x.size < 3 or np.ptp(x) <= 1e-12:
        raise ValueError(f"the fit needs 3 pairs with differing entropy, got {x.size}")
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    b = float(y.mean() - slope * x.mean())
    total = float(((y - y.mean()) ** 2).sum())
    r2 = 1 - float(((y - slope * x - b) ** 2).sum()) / total if total > 0 else math.nan
    return EntropyLaw(-slope, b, r2, slope + b, int(x.size))


def law_points(curves: pd.DataFrame, entropy: str = "rl/entropy", reward: str = "rl/reward") -> pd.DataFrame:
    """What the law is fitted on: point, arm, seed, step, entropy, reward. The steps that have both curves (the reward comes once per
    generation, the entropy every step), each curve smoothed over a twentieth of the point's steps."""
    chosen = curves[curves["name"].isin([entropy, reward])]
    wide = chosen.pivot(index=["arm", "point", "seed", "step"], columns="name", values="value").reindex(columns=[entropy, reward]).dropna()
    table = wide.set_axis(["entropy", "reward"], axis="columns").reset_index()
    for _, own in table.groupby("point", observed=True):
        for name in ("entropy", "reward"):
            table.loc[own.index, name] = smooth(own[name], max(1, len(own) // 20))
    return table


def fit_or_nan(points: pd.DataFrame) -> EntropyLaw:
    """The law over rows of `law_points`; nan where they do not determine it."""
    try:
        return fit_entropy_law(points["entropy"], points["reward"])
    except ValueError:
        return EntropyLaw(*(math.nan,) * 4, len(points))


def curve_summary(curves: pd.DataFrame, entropy: str = "rl/entropy", reward: str = "rl/reward") -> pd.DataFrame:
    """One row per point: arm, seed, time_to_collapse, plateau_entropy, steps_to_90, gain, and the law's a, b, r2, ceiling, fitted on
    `law_points`. A point without one of the curves has nan there."""
    chosen = curves[curves["name"].isin([entropy, reward])]
    of_point = chosen.drop_duplicates("point").set_index("point")
    wide = chosen.pivot(index=["point", "step"], columns="name", values="value").reindex(columns=[entropy, reward])
    both = law_points(curves, entropy, reward)
    rows = []
    for point in of_point.index:
        own = wide.loc[point]
        row = {"point": str(point), "arm": str(of_point.at[point, "arm"]), "seed": of_point.at[point, "seed"]}
        law = fit_or_nan(both[both["point"] == point])
        row |= {"law_a": law.a, "law_b": law.b, "law_r2": law.r2, "law_ceiling": law.ceiling}
        rows.append(row | _point_summary(own[entropy].dropna(), own[reward].dropna()))
    return pd.DataFrame(rows)


def _point_summary(entropy: pd.Series, reward: pd.Series) -> dict[str, float]:
    summary = {"time_to_collapse": math.nan, "plateau_entropy": math.nan, "steps_to_90": math.nan, "gain": math.nan}
    if entropy.size:
        summary["time_to_collapse"] = time_to_collapse(entropy.index, entropy)
        summary["plateau_entropy"] = plateau(entropy)
    if reward.size:
        summary["steps_to_90"] = steps_to_gain(reward.index, reward)
        summary["gain"] = plateau(reward) - float(reward.iloc[: max(1, reward.size // 20)].mean())
    return summary


def _curve(steps: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    whole = np.isfinite(y)
    if x.shape != y.shape or not whole.any():
        raise ValueError("a curve needs as many steps as values, and one finite value")
    return x[whole], y[whole]

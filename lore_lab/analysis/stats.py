"""Statistics over seeds, as pure functions over arrays. Why these and not others: docs/verdicts.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean with its interval. sd: standard deviation of the values (n - 1), nan for one value."""

    mean: float
    low: float
    high: float
    sd: float
    n: int


class Pairs(NamedTuple):
    """Differences arm - baseline by seed. dropped: what was left out and why, empty when nothing was."""

    seeds: tuple[int, ...]
    differences: Floats
    dropped: tuple[str, ...]


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of `values` (n,) with its Student t interval. One value has the interval (-inf, inf). Raises ValueError on none or
    nan."""
    from scipy.special import stdtrit  # scipy.stats costs half a second to import, this costs nothing

    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"a t interval needs a row of finite numbers, got {x!r}")
    mean, n = float(x.mean()), x.size
    if n == 1:
        return Estimate(mean, -math.inf, math.inf, math.nan, 1)
    sd = spread(x)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * sd / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, sd, n)


def spread(values: ArrayLike) -> float:
    """Standard deviation (n - 1) of two values or more; exactly 0 where they differ by rounding only."""
    x = np.asarray(values, dtype=float)
    # 0.61 - 0.58 and 0.71 - 0.68 are the same difference with another last bit: without this its t would be 1e15.
    return 0.0 if np.ptp(x) <= 1e-12 else float(x.std(ddof=1))


def t_test(values: ArrayLike, null: float = 0.0) -> tuple[float, float]:
    """(p below, p above): one-sided p-values of mean < null and mean > null. The two-sided p is twice the smaller one.

    With no spread the mean is known: the p-values are 0 or 1, or both 0.5 at the null itself.
    """
    from scipy.special import stdtr

    x = np.asarray(values, dtype=float)
    shift = float(x.mean()) - null
    if x.size < 2:
        return 1.0, 1.0
    error = spread(x) / math.sqrt(x.size)
    t = shift / error if error else 0.0 if abs(shift) <= 1e-12 else math.copysign(math.inf, shift)
    return float(stdtr(x.size - 1, t)), float(stdtr(x.size - 1, -t))


def paired_differences(arm: Mapping[int, float], baseline: Mapping[int, float], *, missing: str = "error", name: str = "the arm") -> Pairs:
    """Differences of two metrics by seed, seeds in order.

    A seed that only one side has, or whose value is not finite, is an error that names it (missing="error") or is left out and
    reported (missing="drop"): a run that diverged must not vanish in silence.
    """
    if missing not in ("error", "drop"):
        raise ValueError(f"missing={missing!r} is neither 'error' nor 'drop'")
    bad: dict[int, str] = {}
    for label, side in ((name, arm), ("the baseline", baseline)):
        for seed in sorted(arm.keys() | baseline.keys()):
            if seed not in side:
                bad[seed] = f"seed {seed}: no finished value for {label}"
            elif not math.isfinite(side[seed]):
                bad[seed] = f"seed {seed}: {side[seed]} for {label}"
    if bad and missing == "error":
        raise ValueError("pairs are missing: " + "; ".join(bad[seed] for seed in sorted(bad)))
    seeds = tuple(seed for seed in sorted(arm.keys() & baseline.keys()) if seed not in bad)
    differences = np.array([arm[seed] - baseline[seed] for seed in seeds], dtype=float)
    return Pairs(seeds, differences, tuple(bad[seed] for seed in sorted(bad)))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p-values (m,), in the order given. Equal to statsmodels' multipletests, which costs two seconds to import."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (p.size - np.arange(p.size))), 1.0)
    return adjusted


def holm_levels(p_values: ArrayLike, alpha: float = 0.05) -> Floats:
    """The level (m,) at which Holm's procedure tested each arm: alpha / (m - r) for the r-th smallest p-value while it rejects;
    once it stops, the level it stopped at, for all that is left.

    A t interval at confidence 1 - level excludes the null exactly where Holm rejects.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = alpha / (p.size - np.arange(p.size))
    failed = p[order] > steps
    stop = int(failed.argmax()) if failed.any() else p.size
    levels = np.empty_like(p)
    levels[order] = np.where(np.arange(p.size) < stop, steps, steps[min(stop, p.size - 1)])
    return levels


def probability_of_improvement(
    arm: ArrayLike, baseline: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """P(a run of the arm beats a run of the baseline), ties counting half, as in rliable (Agarwal et al. 2021).

    arm, baseline: (runs,) or (runs, tasks), higher is better; averaged over tasks. The interval is the percentile bootstrap
    over runs.
    """
    x, y = (np.asarray(v, dtype=float) for v in (arm, baseline))
    x, y = (v[:, None] if v.ndim == 1 else v for v in (x, y))
    if not x.size or not y.size or x.shape[1] != y.shape[1] or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("both sides need finite runs over the same tasks")
    wins = (np.sign(x[:, None, :] - y[None, :, :]) / 2 + 0.5).mean(axis=2)  # (runs, runs): share of tasks the pair wins
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(x), size=(resamples, len(x)))
    columns = rng.integers(len(y), size=(resamples, len(y)))
    draws = wins[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2))
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(wins.mean()), float(low), float(high), float(draws.std(ddof=1)), len(x))


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share, for a metric that counts within one run. (0, 1) when n is 0."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def power_difference(effect: float, sd: float, n: int, level: float = 0.05) -> float:
    """Probability that the (1 - level) t interval over n seeds lies above 0 when the true mean difference is `effect` > 0."""
    from scipy.stats import nct, t

    if n < 2:
        return 0.0
    if sd == 0:
        return float(effect > 0)
    return float(nct.sf(t.ppf(1 - level / 2, n - 1), n - 1, effect * math.sqrt(n) / sd))


def power_equivalence(margin: float, sd: float, n: int, level: float = 0.05) -> float:
    """Probability that the (1 - level) t interval over n seeds lies inside +-margin when the true difference is 0 (a lower
    bound)."""
    return max(0.0, 2 * power_difference(margin, sd, n, level) - 1)


def seeds_to_settle(sd: float, smallest_effect: float, *, level: float = 0.05, power: float = 0.8, most: int = 1000) -> int | None:
    """Seeds at which the verdict is reached with probability `power`, if the truth is either 0 or the smallest effect, at
    spread `sd`.

    Of the two the harder is showing that there is no effect, so its power decides. None above `most`, or when no smallest
    effect is set. The spread is itself estimated: at 5 seeds its 80 % interval is about 0.72 to 1.94 times the figure, so this
    is an order of magnitude.
    """
    if smallest_effect <= 0 or not math.isfinite(sd) or power_equivalence(smallest_effect, sd, most, level) < power:
        return None
    low, high = 1, most  # power grows with n: the answer lies in (low, high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_equivalence(smallest_effect, sd, middle, level) >= power else (middle, high)
    return high

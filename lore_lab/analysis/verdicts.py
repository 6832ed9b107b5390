"""What the seeds say of a claim: supported, contradicted, no effect or inconclusive. The rule and its reasons:
docs/verdicts.md."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lore_lab.analysis.compare import by_seed, pairs_of
from lore_lab.analysis.load import find_arm
from lore_lab.analysis.realised import inert_arms
from lore_lab.analysis.stats import (
    Estimate,
    Pairs,
    holm,
    holm_levels,
    power_difference,
    power_equivalence,
    probability_of_improvement,
    seeds_to_settle,
    spread,
    t_interval,
    t_test,
)

Direction = Literal["up", "down", "flat"]
Outcome = Literal["supported", "contradicted", "no effect", "inconclusive"]

LEAST_SEEDS = 5


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome for one arm of an experiment, in the metric's own unit.

    effect: mean of the paired differences. low, high: its 95 % t interval by itself. adjusted_low, adjusted_high: its interval at the
    level Holm's procedure tested it at, from which the outcome was read. p_holm: the adjusted p-value of that test.
    power: probability that as many seeds, at the spread seen, show the smallest effect where it is real ("flat": show that there is none
    where there is none). seeds_to_settle: see stats.seeds_to_settle; None when the outcome is reached or over 1,000 would be needed.
    improvement: probability that a run of the arm scores higher than a run of the baseline. reason: one sentence.
    """

    arm: str
    outcome: Outcome
    reason: str
    effect: float
    low: float
    high: float
    adjusted_low: float
    adjusted_high: float
    p_holm: float
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    smallest_effect: float
    direction: Direction
    power: float
    seeds_to_settle: int | None = None
    improvement: float | None = None
    dropped: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON; what is not finite is null."""
        content = dataclasses.asdict(self)
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in content.items()}


def judge(
    differences: Mapping[str, ArrayLike],
    *,
    smallest_effect: float,
    direction: Direction = "up",
    confidence: float = 0.95,
    least_seeds: int = LEAST_SEEDS,
    inert: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """One verdict per arm of one experiment, corrected for their number.

    differences: arm -> paired differences to the baseline, one per seed, finite. smallest_effect: the smallest difference
    anyone would care about, > 0, in the metric's unit. direction: "up" or "down" claims a change, "flat" claims that there is
    none. inert: arm -> why it could not act; such an arm is inconclusive, since its result says nothing of the claim.
    """
    if not smallest_effect > 0 or not math.isfinite(smallest_effect):
        raise ValueError(f"smallest_effect={smallest_effect} must be a finite number above 0")
    if direction not in ("up", "down", "flat"):
        raise ValueError(f"direction={direction!r} is not one of up, down, flat")
    rows = {arm: np.asarray(values, dtype=float) for arm, values in differences.items()}
    apart = _holm_family(rows, lambda values: _p_apart(values, smallest_effect if direction == "flat" else 0.0), 1 - confidence)
    close = _holm_family(rows, lambda values: _p_close(values, smallest_effect), 1 - confidence)
    verdicts = []
    for arm, values in rows.items():
        reason_inert = (inert or {}).get(arm)
        outcome, reason, test = _decide(values, apart[arm], close[arm], smallest_effect, direction, least_seeds, reason_inert)
        plain = t_interval(values, confidence)
        unsettled = outcome == "inconclusive" and not reason_inert and plain.sd > 0
        needed = seeds_to_settle(plain.sd, smallest_effect, level=close[arm].level) if unsettled else None
        power = power_equivalence if direction == "flat" else power_difference
        verdicts.append(
            Verdict(
                arm=arm,
                outcome=outcome,
                reason=reason,
                effect=plain.mean,
                low=plain.low,
                high=plain.high,
                adjusted_low=test.interval.low,
                adjusted_high=test.interval.high,
                p_holm=test.p,
                seeds=tuple(range(values.size)),
                differences=tuple(float(value) for value in values),
                smallest_effect=smallest_effect,
                direction=direction,
                power=power(smallest_effect, plain.sd, plain.n, test.level),
                # When fewer than there are should do, the truth likely lies between 0 and the smallest effect: at least one more.
                seeds_to_settle=max(needed, least_seeds, plain.n + 1) if needed else None,
            )
        )
    return verdicts


def verdict(
    runs: pd.DataFrame,
    baseline: str,
    metric: str = "eval/macro_f1",
    *,
    smallest_effect: float,
    direction: Direction = "up",
    arms: Sequence[str] | None = None,
    missing: str = "error",
    inert: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Verdicts of `arms` (all others when None) against `baseline` on `metric`, paired by seed.

    runs: as load_runs gives them. missing: "error" names seeds without a pair, "drop" leaves them out and lists them in the
    verdict. inert: arm -> why it could not act; found from the runs' own folder when None.
    """
    baseline = find_arm(runs, baseline)
    chosen = [find_arm(runs, arm) for arm in arms] if arms else [arm for arm in runs["arm"].unique() if arm != baseline]
    values = by_seed(runs, metric)
    pairs = {arm: pairs_of(values, arm, baseline, missing) for arm in chosen}
    empty = [arm for arm, pair in pairs.items() if not pair.seeds]
    if empty:
        raise ValueError(f"no seed has both {metric} of {empty[0]!r} and of the baseline")
    if inert is None:
        inert = inert_arms(runs, baseline)
    verdicts = judge({a: p.differences for a, p in pairs.items()}, smallest_effect=smallest_effect, direction=direction, inert=inert)
    return [_with_pairs(v, pairs[v.arm], values[v.arm], values[baseline]) for v in verdicts]


def verdict_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """The verdicts as a table: arm, outcome, effect, low, high, p_holm, seeds, improvement, seeds_to_settle, reason."""
    columns = ("arm", "outcome", "effect", "low", "high", "p_holm", "improvement", "seeds_to_settle", "reason")
    table = pd.DataFrame([{c: getattr(v, c) for c in columns} | {"seeds": len(v.seeds)} for v in verdicts], columns=[*columns, "seeds"])
    return table.astype({"seeds_to_settle": "Int64"})


class _Test(NamedTuple):
    """One arm's test in its family. p: Holm-adjusted. level: the one Holm tested it at. interval: the t interval at that level, which
    rejects exactly where Holm does."""

    p: float
    level: float
    interval: Estimate


def _holm_family(rows: Mapping[str, np.ndarray], p_value: Callable[[np.ndarray], float], alpha: float) -> dict[str, _Test]:
    if not rows:
        return {}
    p = [p_value(values) for values in rows.values()]
    triples = zip(rows.items(), holm(p), holm_levels(p, alpha), strict=True)
    return {arm: _Test(float(q), float(level), t_interval(values, 1 - float(level))) for (arm, values), q, level in triples}


def _p_apart(values: np.ndarray, bound: float) -> float:
    """Two-sided p-value of "the mean lies within +-bound": at most the level exactly where the interval lies beyond on one side."""
    return min(1.0, 2 * min(t_test(values, bound)[1], t_test(values, -bound)[0]))


def _p_close(values: np.ndarray, bound: float) -> float:
    """Twice the p-value of the two one-sided tests of "the mean lies at +-bound or beyond": at most the level exactly where the
    interval lies inside."""
    return min(1.0, 2 * max(t_test(values, -bound)[1], t_test(values, bound)[0]))


def _decide(
    values: np.ndarray, apart: _Test, close: _Test, smallest: float, direction: Direction, least_seeds: int, inert: str | None
) -> tuple[Outcome, str, _Test]:
    """The outcome, why, and the test it was read from. apart: against no difference ("flat": against at most the smallest effect).
    close: against a difference of the smallest effect or more."""
    own = close if direction == "flat" else apart
    if inert:
        return "inconclusive", f"the arm did not act: {inert}", own
    if values.size < least_seeds:
        return "inconclusive", f"{values.size} seeds, at least {least_seeds} are needed", own
    if spread(values) == 0 and abs(apart.interval.mean) > 1e-12:
        return "inconclusive", "every seed gives the same difference: the seeds do not act, so this is one run", own
    inside = -smallest < close.interval.low and close.interval.high < smallest
    bound = smallest if direction == "flat" else 0.0
    above, below = apart.interval.low > bound, apart.interval.high < -bound
    if direction == "flat":
        if inside:
            return "supported", "the interval lies inside the smallest effect", close
        if above or below:
            return "contradicted", "the interval lies beyond the smallest effect", apart
        return "inconclusive", "the interval reaches beyond the smallest effect and is not clear of it", close
    if inside:
        return "no effect", f"{'there is a difference, but ' if above or below else ''}the interval lies inside the smallest effect", close
    if above or below:
        outcome: Outcome = "supported" if above == (direction == "up") else "contradicted"
        return outcome, f"the interval lies {'above' if above else 'below'} 0", apart
    return "inconclusive", "the interval holds 0 and reaches beyond the smallest effect", apart


def _with_pairs(found: Verdict, pairs: Pairs, arm: Mapping[int, float], baseline: Mapping[int, float]) -> Verdict:
    mine, base = ([side[seed] for seed in pairs.seeds] for side in (arm, baseline))
    improvement = probability_of_improvement(mine, base, resamples=2).mean
    return dataclasses.replace(found, seeds=pairs.seeds, dropped=pairs.dropped, improvement=improvement)

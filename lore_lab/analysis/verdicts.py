"""What the seeds say of a claim: supported, contradicted, no effect or inconclusive. The rule and its reasons:
docs/verdicts.md."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lore_lab.analysis.comparison import by_seed
from lore_lab.analysis.load import find_arm
from lore_lab.analysis.realised import inert_arms
from lore_lab.analysis.stats import (
    Estimate,
    Pairs,
    holm,
    holm_levels,
    paired_differences,
    power_difference,
    power_equivalence,
    probability_of_improvement,
    seeds_to_settle,
    spread,
    t_interval,
    t_test,
)

Direction = Literal["up", "down", "flat", "not up", "not down"]
Outcome = Literal["supported", "contradicted", "no effect", "inconclusive"]

LEAST_SEEDS = 5
INVALID, MOST = "eval/invalid_rate", 0.5
_CHANGES = ("up", "down")


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

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Verdict:
        """What as_dict gave, also after JSON; a bound or p-value that was not finite is nan."""
        optional = ("seeds_to_settle", "improvement")
        values: dict[str, Any] = {key: math.nan if value is None and key not in optional else value for key, value in content.items()}
        lists: dict[str, Any] = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**values | lists)


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
    none, "not up" and "not down" that there is none on that side. inert: arm -> why its numbers say nothing; such an arm is
    inconclusive, since its result says nothing of the claim.
    """
    if not smallest_effect > 0 or not math.isfinite(smallest_effect):
        raise ValueError(f"smallest_effect={smallest_effect} must be a finite number above 0")
    if direction not in get_args(Direction):
        raise ValueError(f"direction={direction!r} is not one of {', '.join(get_args(Direction))}")
    rows = {arm: np.asarray(values, dtype=float) for arm, values in differences.items()}
    apart = _holm_family(rows, lambda values: _p_apart(values, 0.0 if direction in _CHANGES else smallest_effect), 1 - confidence)
    close = _holm_family(rows, lambda values: _p_close(values, smallest_effect, direction), 1 - confidence)
    verdicts = []
    for arm, values in rows.items():
        reason_inert = (inert or {}).get(arm)
        plain = t_interval(values, confidence)
        outcome, reason, test = _decide(values, plain, apart[arm], close[arm], smallest_effect, direction, least_seeds, reason_inert)
        unsettled = outcome == "inconclusive" and not reason_inert and plain.sd > 0
        needed = seeds_to_settle(plain.sd, smallest_effect, level=close[arm].level) if unsettled else None
        # That an arm is no worse is shown as often as one that is better by the smallest effect is shown to be better.
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
    baseline: str | None,
    metric: str = "eval/macro_f1",
    *,
    smallest_effect: float,
    direction: Direction = "up",
    arms: Sequence[str] | None = None,
    missing: str = "error",
    inert: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Verdicts of `arms` (all others when None) against `baseline` on `metric`, paired by seed.

    baseline: None where the metric is a difference itself (such as RL less SFT within a run): its values are judged as they are.
    runs: as load_runs gives them. missing: "error" names seeds without a pair, "drop" leaves them out and lists them in the
    verdict. inert: arm -> why it could not act; found from the runs' own folder when None.
    """
    baseline = find_arm(runs, baseline) if baseline is not None else None
    chosen = [find_arm(runs, arm) for arm in arms] if arms is not None else [str(arm) for arm in runs["arm"].unique() if arm != baseline]
    values = by_seed(runs, metric)
    zero = {arm: dict.fromkeys(values[arm], 0.0) for arm in chosen}
    base = {arm: zero[arm] if baseline is None else values[baseline] for arm in chosen}
    pairs = {arm: paired_differences(values[arm], base[arm], missing=missing, name=repr(arm)) for arm in chosen}
    empty = [arm for arm, pair in pairs.items() if not pair.seeds]
    if empty:
        raise ValueError(f"no seed has both {metric} of {empty[0]!r} and of the baseline")
    if inert is None:
        found = inert_arms(runs, baseline) if baseline is not None else {}
        inert = {arm: f"the arm did not act: {why}" for arm, why in found.items()} | unreadable_arms(runs, chosen, baseline, metric)
    verdicts = judge({a: p.differences for a, p in pairs.items()}, smallest_effect=smallest_effect, direction=direction, inert=inert)
    return [_with_pairs(v, pairs[v.arm], values[v.arm], None if baseline is None else values[baseline]) for v in verdicts]


def unreadable_arms(runs: pd.DataFrame, arms: Sequence[str], baseline: str | None, metric: str) -> dict[str, str]:
    """Arm -> why a metric of its answers says nothing: most completions of it, or of the baseline, were invalid in some seed. A wrong format, or a
    limit that cuts every text before its answer, is no worse judge."""
    if INVALID not in runs or not metric.startswith("eval/") or metric == INVALID:
        return {}
    rates = runs.groupby("arm", sort=False)[INVALID].max()
    silent = {str(arm): float(rate) for arm, rate in rates.items() if rate > MOST}
    why = {arm: f"{100 * rate:.0f} % of the completions of {arm} are invalid in a seed" for arm, rate in silent.items()}
    return {arm: why.get(arm) or why[str(baseline)] for arm in arms if arm in why or baseline in why}


def overall(verdicts: Sequence[Verdict]) -> tuple[Outcome, str]:
    """(outcome, why) of a claim that says the same of every arm judged: supported where every arm is; contradicted where one is.

    Else inconclusive where one is, since more seeds may settle it; else no effect: at least one arm does nothing anyone would care about.
    Raises ValueError when there is nothing to judge.
    """
    if not verdicts:
        raise ValueError("a claim without a judged arm has no verdict")
    order: tuple[Outcome, ...] = ("contradicted", "inconclusive", "no effect", "supported")
    deciding = min(verdicts, key=lambda v: order.index(v.outcome))
    return deciding.outcome, deciding.reason if len(verdicts) == 1 else f"{deciding.arm}: {deciding.reason}"


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


def _p_close(values: np.ndarray, bound: float, direction: Direction) -> float:
    """Twice the p-value of the one-sided tests of "the mean lies at +-bound or beyond" (on the side of "not up", "not down" only): at most
    the level exactly where the interval lies inside."""
    below, above = t_test(values, bound)[0], t_test(values, -bound)[1]
    return min(1.0, 2 * {"not up": below, "not down": above}.get(direction, max(below, above)))


def _decide(
    values: np.ndarray,
    plain: Estimate,
    apart: _Test,
    close: _Test,
    smallest: float,
    direction: Direction,
    least_seeds: int,
    inert: str | None,
) -> tuple[Outcome, str, _Test]:
    """The outcome, why, and the test it was read from. plain: the interval before correction. apart: against no difference ("flat": against at most the smallest effect).
    close: against a difference of the smallest effect or more."""
    own = apart if direction in _CHANGES else close
    if inert:
        return "inconclusive", inert, own
    if values.size < least_seeds:
        return "inconclusive", f"{values.size} seeds, at least {least_seeds} are needed", own
    if spread(values) == 0 and abs(apart.interval.mean) > 1e-12:
        return "inconclusive", "every seed gives the same difference: the seeds do not act, so this is one run", own
    if direction not in _CHANGES:
        return _decide_no_change(apart, close, smallest, direction)
    inside = -smallest < close.interval.low and close.interval.high < smallest
    above, below = apart.interval.low > 0, apart.interval.high < 0
    if inside:
        return "no effect", f"{'there is a difference, but ' if above or below else ''}the interval lies inside the smallest effect", close
    if above or below:
        outcome: Outcome = "supported" if above == (direction == "up") else "contradicted"
        return outcome, f"the interval lies {'above' if above else 'below'} 0", apart
    corrected = " once corrected for the number of arms" if plain.low > 0 or plain.high < 0 else ""
    return "inconclusive", f"the interval holds 0{corrected} and reaches beyond the smallest effect", apart


def _decide_no_change(apart: _Test, close: _Test, smallest: float, direction: Direction) -> tuple[Outcome, str, _Test]:
    """The outcome of a claim that nothing changes, or nothing on one side."""
    up, down = direction != "not down", direction != "not up"  # sides on which a change would contradict
    small = {"flat": "any change", "not up": "any rise", "not down": "any fall"}[direction]
    if (close.interval.high < smallest or not up) and (close.interval.low > -smallest or not down):
        return "supported", f"{small} that the interval allows is smaller than the smallest effect", close
    if (up and apart.interval.low > smallest) or (down and apart.interval.high < -smallest):
        return "contradicted", "the interval lies beyond the smallest effect", apart
    return "inconclusive", "the interval reaches beyond the smallest effect and is not clear of it", close


def _with_pairs(found: Verdict, pairs: Pairs, arm: Mapping[int, float], baseline: Mapping[int, float] | None) -> Verdict:
    if baseline is None:
        return dataclasses.replace(found, seeds=pairs.seeds, dropped=pairs.dropped)
    mine, base = ([side[seed] for seed in pairs.seeds] for side in (arm, baseline))
    improvement = probability_of_improvement(mine, base, resamples=2).mean
    return dataclasses.replace(found, seeds=pairs.seeds, dropped=pairs.dropped, improvement=improvement)

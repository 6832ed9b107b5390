"""What a claim measures on a run: a metric of the table, what a curve comes to, or the difference of two of these.

eval/macro_f1                                     a metric of the final policy
eval/pass@8 - eval/pass@1                         a difference; the second may be a number
plateau(rl/lore/entropy_decision)                 a curve's fact, from FACTS
law_r2(rl/lore/entropy_decision, rl/reward)       of two curves
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from lore_lab.analysis.curves import curve_summary, plateau, steps_to_converge, time_to_collapse
from lore_lab.analysis.load import load_curves


def start(values: np.ndarray) -> float:
    """Mean of the first twentieth of the curve (at least one value)."""
    return float(values[: max(1, values.size // 20)].mean())


def jitter(values: np.ndarray) -> float:
    """Standard deviation of the changes from one value to the next over the second half of the curve; nan under 4 values."""
    half = values[values.size // 2 :]
    return float(np.diff(half).std(ddof=1)) if half.size >= 4 else math.nan


#: facts of one curve: steps, values -> number
FACTS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "plateau": lambda steps, values: plateau(values),
    "start": lambda steps, values: start(values),
    "jitter": lambda steps, values: jitter(values),
    "time_to_collapse": time_to_collapse,
    "steps_to_converge": steps_to_converge,
}
#: facts of an entropy and a reward curve, from curve_summary
LAWS = ("law_r2", "law_ceiling", "law_a", "law_b")


class Term(NamedTuple):
    """fact: of FACTS or LAWS, "" for a column of the table or a number. names: curves, the column, or the number."""

    fact: str
    names: tuple[str, ...]


def parse_metric(metric: str) -> list[Term]:
    """One term, or two to be subtracted. Raises ValueError naming the part that cannot be read and the nearest fact."""
    parts = re.split(r"\s+-\s+", metric.strip())
    if len(parts) > 2:
        raise ValueError(f"metric={metric!r}: at most one difference")
    return [_term(part) for part in parts]


def _term(text: str) -> Term:
    call = re.fullmatch(r"(\w+)\(([^()]*)\)", text)
    if not call:
        if not re.fullmatch(r"[\w@./]+", text):
            raise ValueError(f"metric: {text!r} is neither a metric, a number nor fact(curve)")
        return Term("", (text,))
    fact, names = call[1], tuple(name.strip() for name in call[2].split(","))
    wanted = 1 if fact in FACTS else 2 if fact in LAWS else 0
    if not wanted:
        near = difflib.get_close_matches(fact, [*FACTS, *LAWS], n=1, cutoff=0)
        raise ValueError(f"metric: unknown fact {fact!r}; did you mean {near[0]}? There are: {', '.join([*FACTS, *LAWS])}")
    if len(names) != wanted or not all(names):
        raise ValueError(f"metric: {fact} takes {wanted} curve{'s' if wanted > 1 else ''}, got {text!r}")
    return Term(fact, names)


def with_metric(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs with a column called `metric`, computed where it is an expression. Raises KeyError when a part was never measured."""
    if metric in runs:
        return runs
    terms = [_values(runs, term) for term in parse_metric(metric)]
    result = runs.assign(**{metric: terms[0] - terms[1] if len(terms) == 2 else terms[0]})
    result.attrs = runs.attrs
    return result


def _values(runs: pd.DataFrame, term: Term) -> pd.Series:
    if not term.fact:
        name = term.names[0]
        if re.fullmatch(r"\d+(\.\d+)?", name):
            return pd.Series(float(name), index=runs.index)
        if name not in runs:
            raise KeyError(f"no metric {name!r} (there: {', '.join(c for c in map(str, runs) if '/' in c)[:400]})")
        return runs[name].astype(float)
    curves = load_curves(runs, term.names)
    missing = [name for name in term.names if name not in set(curves["name"])]
    if missing:
        raise KeyError(f"no curve {missing[0]!r} in these runs")
    if term.fact in LAWS:
        by_point = curve_summary(curves, *term.names).set_index("point")[term.fact]
    else:
        fact = FACTS[term.fact]
        by_point = pd.Series({point: fact(own["step"].to_numpy(), own["value"].to_numpy()) for point, own in _by_point(curves)})
    return runs["point"].map(by_point).astype(float)


def _by_point(curves: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(point), own.sort_values("step")) for point, own in curves.groupby("point", observed=True)]

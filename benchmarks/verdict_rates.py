"""How often the verdict rule errs, and what it can see: python benchmarks/verdict_rates.py

Simulates experiments (arms x seeds of paired differences; the arms share the baseline's noise as real ones do) and judges each
with the rule itself. Under no effect "supported" may come out in at most 2.5 % of the experiments (the upper half of 5 %), and
"no effect" in at most 2.5 % per arm where the effect is just the smallest one.
"""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np

from lore_lab.analysis.verdicts import judge

OUTCOMES = ("supported", "contradicted", "no effect", "inconclusive")


def rates(
    *,
    arms: int,
    seeds: int,
    effect: float,
    sd: float,
    smallest_effect: float,
    runs: int = 2000,
    seed: int = 0,
    acting: int | None = None,
    rest: float = 0.0,
) -> dict[str, float]:
    """Share of arms with each outcome over `runs` simulated experiments, and of experiments with any.

    sd: of a paired difference; half of its variance comes from the baseline, which all arms share. acting: how many of the arms have
    the effect (all when None); the others have `rest`, and the shares are then over the others.
    """
    rng = np.random.default_rng(seed)
    noise = sd / np.sqrt(2) * rng.normal(size=(runs, arms + 1, seeds))
    differences = noise[:, 1:] - noise[:, :1]
    acting = arms if acting is None else acting
    differences[:, :acting] += effect
    differences[:, acting:] += rest
    counted = range(arms) if acting == arms else range(acting, arms)
    single: Counter[str] = Counter()
    experiments: Counter[str] = Counter()
    for experiment in differences:
        verdicts = judge({str(i): row for i, row in enumerate(experiment)}, smallest_effect=smallest_effect)
        outcomes = [verdicts[i].outcome for i in counted]
        single.update(outcomes)
        experiments.update(set(outcomes))
    shares = {name: single[name] / (runs * len(counted)) for name in OUTCOMES}
    return shares | {f"any {name}": experiments[name] / runs for name in OUTCOMES}


def main() -> None:
    """Prints the tables of docs/verdicts.md."""
    print("| arms | seeds | true effect / sd | supported | contradicted | no effect | inconclusive | any supported |")
    print("|---|---|---|---|---|---|---|---|")
    for arms, seeds, effect in itertools.product((1, 3, 8), (5, 10), (0.0, 1.0, 2.0, 3.0)):
        shares = rates(arms=arms, seeds=seeds, effect=effect, sd=1.0, smallest_effect=1.0)
        cells = [f"{100 * shares[name]:.1f} %" for name in (*OUTCOMES, "any supported")]
        print(f"| {arms} | {seeds} | {effect:g} | " + " | ".join(cells) + " |")
    mixed = rates(arms=8, seeds=5, effect=5.0, sd=1.0, smallest_effect=1.0, acting=4)
    edge = rates(arms=8, seeds=10, effect=5.0, sd=0.5, smallest_effect=1.0, acting=4, rest=1.0)
    print(
        f"\n4 of 8 arms act strongly (5 sd), 5 seeds; any of the other 4, which do nothing, supported: {100 * mixed['any supported']:.1f} %"
    )
    print(f"the same with the other 4 at the smallest effect, 10 seeds: any of them called no effect: {100 * edge['any no effect']:.1f} %")


if __name__ == "__main__":
    main()

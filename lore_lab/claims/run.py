"""`python train.py -m experiment=<paper>/<claim>,...`: every arm and seed of each claim as one sweep, then its verdict and its result."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lore_lab.claims.claim import EXPERIMENTS, PRETRAINED, Claim, load_claim
from lore_lab.claims.confound import axis_values, check_confounds
from lore_lab.command import PLAN_ONLY, compose_points, launch
from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import companions, parse, split_seeds
from lore_lab.config.schema import Config
from lore_lab.stages.records import Point, now, sweep_id, write_sweep
from lore_lab.stages.store import Store

#: words that leave an experiment what its file says
_NO_CHANGE = ("root", "tracking", "tracking.wandb", "tracking.project", "tracking.entity")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A claim, the words added to it on the command line, and its points."""

    claim: Claim
    further: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def command(self) -> str:
        return shlex.join(["python", "train.py", "-m", f"experiment={self.claim.name}", *self.further])

    @property
    def axes(self) -> dict[str, list[str]]:
        """What the arms differ in and the seeds, for the sweep's record."""
        configs = {point.arm: point.config for point in self.points}
        return axis_values(configs.values()) | {"seed": list(dict.fromkeys(str(point.config.seed) for point in self.points))}

    @property
    def as_filed(self) -> bool:
        """Whether the command ran what the file says, so that its outcome is the claim's result."""
        return all(override.key_or_group in _NO_CHANGE for override in parse(self.further))


def arm_words(claim: Claim, further: Sequence[str] = ()) -> dict[tuple[str, int], list[str]]:
    """(arm, seed) -> override words, baseline first. further: words of the command, which win; `seed` replaces the file's seeds.

    Raises ConfigError for another axis: the arms are the file's.
    """
    seeds, common = split_seeds(further, claim.seeds, f"experiment={claim.name}")
    words = {arm: [*claim.setup, *claim.arms[arm], *common] for arm in claim.ordered}
    return {(arm, seed): [*own, *companions(own), f"seed={seed}"] for arm, own in words.items() for seed in seeds}


def plan_claim(claim: Claim, further: Sequence[str], loader: Any, master: DictConfig) -> Plan:
    """Compose and check every arm and seed. Raises ConfigError: needs, metric, unknown keys, invalid and inert settings, confounds."""
    from lore_lab.analysis.measures import parse_metric  # pandas: not for a listing

    try:
        for metric in (claim.metric, *claim.shown):
            parse_metric(metric)
    except ValueError as error:
        raise ConfigError(f"{claim.name}.yaml: {error}") from None
    if claim.needs and claim.needs != PRETRAINED:
        raise ConfigError(f"experiment={claim.name} needs {claim.needs}, which the lab does not have yet")
    words = arm_words(claim, further)
    points = compose_points(list(words.values()), loader, master)
    configs = {key: point.config for key, point in zip(words, points, strict=True)}
    check_need(claim, configs)
    check_confounds(claim, configs)
    named = (dataclasses.replace(point, arm=arm) for (arm, _), point in zip(words, points, strict=True))
    return Plan(claim, tuple(further), tuple(named))


def check_need(claim: Claim, configs: Mapping[tuple[str, int], Config]) -> None:
    """Raise ConfigError when a claim about pretrained models would run on one made from its config."""
    if claim.needs == PRETRAINED and any(config.model.path is None for config in configs.values()):
        raise ConfigError(
            f"experiment={claim.name} needs a {PRETRAINED}: the embedded one cannot show it; add model.path=DIRECTORY to the command"
        )


def run_claims(
    names: Sequence[str], further: Sequence[str], loader: Any, master: DictConfig, launcher: Any, folder: Path = EXPERIMENTS
) -> None:
    """All claims in one run: stages they share are computed once. Exits non-zero unless every claim has its verdict."""
    plans = [plan_claim(load_claim(name, folder), further, loader, master) for name in dict.fromkeys(names)]
    points = list({point.key: point for plan in plans for point in plan.points}.values())
    root = Path(points[0].config.root)
    print(f"{len(plans)} claim{'s' if len(plans) > 1 else ''}, {len(points)} points; budget {_budget(plans)}", file=sys.stderr)
    if os.environ.get(PLAN_ONLY):
        from lore_lab.stages.plan import print_plan

        print_plan(points, Store(root))
        return
    folders = [write_sweep(root, plan.points, plan.axes, plan.command, plan.claim.name) for plan in plans]
    states = launch(points, [point.overrides for point in points], launcher, folders[0].name if len(plans) == 1 else sweep_id(points))
    for plan in plans:
        write_sweep(root, plan.points, plan.axes, plan.command, plan.claim.name, finished=now())
    done = {point.key for point in points if states[point.key] == "done"}
    judged = [_conclude(plan, root, folder, all(point.key in done for point in plan.points)) for plan in plans]
    if not all(judged):
        raise SystemExit(1)


def _budget(plans: Sequence[Plan]) -> str:
    minutes = sum(plan.claim.budget for plan in plans)
    return f"{minutes:g} minutes on two cores by the file{'s, shared stages counted in each' if len(plans) > 1 else ''}"


def _conclude(plan: Plan, root: Path, folder: Path, whole: bool) -> bool:
    """Print the sweep's table and the claim's verdicts; record the result where the command ran what the file says. False without a verdict."""
    from rich.console import Console

    from lore_lab.analysis.summary import summarise_sweep  # pandas and matplotlib: only once there is something to show
    from lore_lab.claims.results import make_result, result_path, verdict_lines, write_result

    console = Console(width=None if sys.stdout.isatty() else 160)
    sweep = sweep_id(plan.points, plan.claim.name)
    console.print(summarise_sweep(root, sweep))
    if not whole:
        console.print(f"{plan.claim.name}: no verdict, points are missing; the same command again computes them", highlight=False)
        return False
    try:
        result = make_result(plan.claim, root, sweep)
    except (KeyError, ValueError) as error:  # a metric that these settings do not measure, or a run that diverged
        console.print(f"{plan.claim.name}: no verdict, {error.args[0]}", highlight=False, soft_wrap=True, markup=False)
        return False
    console.print(verdict_lines(plan.claim, result), highlight=False, soft_wrap=True, markup=False)
    if plan.as_filed:
        path = result_path(plan.claim.name, folder)
        write_result(path, result)
        console.print(f"result: {path}", highlight=False, soft_wrap=True)
    else:
        console.print("not recorded: the command changes what the claim's file says", highlight=False)
    return True

"""Hydra's two hooks for sweeps. The sweeper expands, checks and records a whole sweep before anything runs, under any launcher; the
local launcher runs its stages on this machine's cores. Kept thin: the work is in lore_lab.command.

No postponed annotations here: Hydra runs plugin files outside sys.modules, where dataclasses cannot resolve them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class LoreSweeperConf:
    """experiment: claims whose arms and seeds are the points. step: steps of a recipe that are. train.py puts the command's `experiment=` and
    `step=` here."""

    _target_: str = "hydra_plugins.lore_lab_plugins.LoreSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    experiment: list[str] = field(default_factory=list)
    step: list[str] = field(default_factory=list)


@dataclass
class LocalLauncherConf:
    """workers: stages computed at once; null is one a core, or one a GPU."""

    _target_: str = "hydra_plugins.lore_lab_plugins.LocalLauncher"
    workers: int | None = None


_store = ConfigStore.instance()
_store.store(group="hydra/sweeper", name="lore", node=LoreSweeperConf, provider="lore_lab")
_store.store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="lore_lab")


class LoreSweeper(BasicSweeper):
    """Cartesian sweeps, as Hydra's own, the arms of claims, or the steps of a recipe; results are counted afterwards, whatever the launcher
    said."""

    def __init__(self, max_batch_size: int | None, params: Any, experiment: Sequence[str], step: Sequence[str]) -> None:
        super().__init__(max_batch_size, params)
        self.experiment, self.step = list(experiment), list(step)

    def sweep(self, arguments: list[str]) -> Any:
        from lore_lab.claims.run import run_claims
        from lore_lab.command import run_sweep
        from lore_lab.steps import run_steps

        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        if self.experiment:
            return run_claims(self.experiment, arguments, loader, self.config, self.launcher)
        if self.step:
            return run_steps(self.step, arguments, loader, self.config, self.launcher)
        return run_sweep(arguments, loader, self.config, self.launcher)


class LocalLauncher(Launcher):
    """Runs all points of a batch through one executor, so that shared stages run once and cores stay busy."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's interface, for sweepers other than ours."""
        from lore_lab.command import compose_points, run_points

        assert self.hydra_context is not None
        assert self.config is not None
        points = compose_points(job_overrides, self.hydra_context.config_loader, self.config)
        states = run_points(points, workers=self.workers)
        status = {"done": JobStatus.COMPLETED, "failed": JobStatus.FAILED}
        return [
            JobReturn(overrides=list(point.overrides), status=status[states[point.key]], _return_value=states[point.key])
            for point in points
        ]

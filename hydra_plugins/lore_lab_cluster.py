"""Slurm and Ray for sweeps: Hydra's plugins, which come with the extras `slurm` and `ray`, made to end when a job is killed.

No postponed annotations here: Hydra runs plugin files outside sys.modules.
"""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


def _gpus(device: str, processes: int) -> int:
    """GPUs of a point: one a process, none on a CPU."""
    from lore_lab.stages.device import resolve_device

    return processes if resolve_device(device) == "cuda" else 0


# conf/hydra/launcher has options of the plugins' own names on purpose, so that the documented words choose ours.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/(submitit_slurm|ray)' is validated against ConfigStore schema", UserWarning)
OmegaConf.register_new_resolver("lore_lab_gpus", _gpus, replace=True)


def _plugin(module: str, extra: str) -> Any:
    """A module of Hydra's plugin. Raises ConfigError naming the extra it comes with."""
    from lore_lab.config.errors import ConfigError

    try:
        return importlib.import_module(f"hydra_plugins.{module}")
    except ImportError as error:
        raise ConfigError(f"this launcher needs the extra `{extra}`: pip install 'lore-lab[{extra}]' ({error})") from None


class _Base(Launcher):
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config


class SlurmLauncher(_Base):
    """submitit's launcher, asking `squeue` what became of its jobs.

    submitit asks `sacct`; where Slurm keeps no accounts it waits for ever on a job that was killed. And it stops waiting for the others at the first
    job without a result.
    """

    def __init__(self, **params: Any) -> None:
        self._params = params

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        launcher = _plugin("hydra_submitit_launcher.submitit_launcher", "slurm").SlurmLauncher(**self._params)
        from submitit import SlurmJob
        from submitit.core.utils import FailedJobError, UncompletedJobError

        from lore_lab.slurm import QueueWatcher

        launcher.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        SlurmJob.watcher = watcher = QueueWatcher()
        try:
            return launcher.launch(job_overrides, initial_job_idx)
        except (FailedJobError, UncompletedJobError):
            watcher.wait()
            raise


class RayLauncher(_Base):
    """Ray's tasks by the plugin's own functions. A point whose worker dies more often than `max_retries` is lost, the others are waited for."""

    def __init__(self, ray: DictConfig) -> None:
        self._ray = ray

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        plugin = _plugin("hydra_ray_launcher._launcher_util", "ray")
        import ray
        from hydra.core.singleton import Singleton
        from omegaconf import open_dict

        plugin.setup_globals()
        plugin.start_ray(self._ray.init)
        tasks = []
        for number, words in enumerate(job_overrides, start=initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(words))
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = f"{number}", number
            tasks.append(plugin.launch_job_on_ray(self.hydra_context, self._ray.remote, config, self.task_function, Singleton.get_state()))
        return [self._result(ray, task) for task in tasks]

    @staticmethod
    def _result(ray: Any, task: Any) -> JobReturn:
        try:
            done: JobReturn = ray.get(task)
        except ray.exceptions.RayError as error:
            return JobReturn(status=JobStatus.FAILED, _return_value=error)
        return done

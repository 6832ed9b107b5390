"""One point, or a sweep: `python train.py [-m] [--plan] [key=value ...]`. Composes, checks, hands over; imports no torch."""

from __future__ import annotations

import atexit
import gc
import os
import sys

# What is imported and composed lives as long as the process: looking through it for cycles, at the end once more, finds nothing.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import CONF, check, companions
from lore_lab.config.schema import register

# libyaml, where PyYAML has it, reads the options as PyYAML itself does, and a command starts in 0.92 of the time.
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]


def task(config: DictConfig) -> None:
    """One point: from a single run, or from a launcher that runs points as Hydra jobs."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lore_lab.command import run_job, run_single

    job = HydraConfig.get()
    words = [word for word in OmegaConf.to_container(job.overrides.task) or [] if isinstance(word, str)]
    if job.mode == RunMode.MULTIRUN:
        run_job(config, words)
    else:
        try:
            code = run_single(config, words)
        except ConfigError as error:
            code = refuse(error)
        raise SystemExit(code)


def refuse(error: Exception) -> int:
    """Say what is wrong with the command, the cause included; exit code 2."""
    cause = f": {error.__cause__}" if error.__cause__ else ""
    print(f"refused: {error}{cause}", file=sys.stderr)
    return 2


def name_points(argv: list[str]) -> None:
    """Hand `experiment=a,b` and `step=a,b` to the sweeper, whose settings they are: neither is a field of a point. Raises ConfigError without -m."""
    for setting in ("experiment", "step"):
        words = [word for word in argv if word.startswith(f"{setting}=")]
        if not words:
            continue
        if not {"-m", "--multirun"} & set(argv):
            others = [word for word in argv[1:] if word not in words]
            raise ConfigError(f"{words[0]} is many points: use python train.py -m {' '.join([*words, *others])}")
        names = [name for word in words for name in word.partition("=")[2].split(",")]
        argv[:] = [word for word in argv if word not in words] + [f"hydra.sweeper.{setting}=[{','.join(names)}]"]
    if sum(word.startswith("hydra.sweeper.") for word in argv) > 1:
        raise ConfigError("experiment and step are two ways to name a command's points: take one of them")


def main() -> None:
    if "--plan" in sys.argv:
        sys.argv.remove("--plan")
        os.environ["LORE_LAB_PLAN"] = "1"
    register()
    try:
        name_points(sys.argv)
        words = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
        if words:
            check(words)
            sys.argv += companions(words)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        raise SystemExit(refuse(error)) from None


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # our own errors are caught above; Hydra's own keep their traces
    main()

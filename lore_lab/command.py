"""A command from its override words to its record: compose every point, check all of them, run, count what is there.

What draws and what runs is imported where it is used: a refusal comes before either.
"""

from __future__ import annotations

import copy
import os
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import groups, parse, touched
from lore_lab.config.schema import Config
from lore_lab.config.validate import typed, validate
from lore_lab.data.registry import available
from lore_lab.models.checkpoint import BadCheckpoint, check, is_hub_id
from lore_lab.stages.device import AUTO_DEVICE, resolve_device
from lore_lab.stages.gpus import Gpus, gpus_needed, visible_gpus
from lore_lab.stages.records import Point, now, point_state, read_json, write_sweep
from lore_lab.stages.store import Store

#: set by `--plan`: show the stages, run nothing
PLAN_ONLY = "LORE_LAB_PLAN"
#: what a launcher's job is told: the sweep it belongs to, the point it was planned as, the device that `compute.device=auto` means
SWEEP, PLANNED, DEVICE = "LORE_LAB_SWEEP", "LORE_LAB_POINT", AUTO_DEVICE


def expand(arguments: Sequence[str]) -> tuple[list[list[str]], dict[str, list[str]]]:
    """(override lists of every point, values of every swept axis) of a multirun's words; the leftmost axis varies slowest."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    overrides = parse(arguments)
    axes = {
        override.get_key_element(): [str(value) for value in override.sweep_string_iterator()]
        for override in overrides
        if override.is_sweep_override()
    }
    return BasicSweeper.split_arguments(overrides, max_batch_size=None)[0], axes


def compose_points(job_overrides: Sequence[Sequence[str]], loader: Any, master: DictConfig) -> list[Point]:
    """Compose and check every point before any runs. Raises ConfigError naming the point."""
    points = []
    warned: set[str] = set()
    compose = Composer(loader, master)
    for words in job_overrides:
        config = compose(words)
        shown = [word for word in words if not word.startswith("hydra")]
        points.append(checked_point(config, shown, warned))
    return points


class Composer:
    """Composes the points of a sweep as Hydra does. Those that choose the same options differ in values alone: options are composed once."""

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self._loader, self._master, self._groups = loader, master, groups()
        # Hydra composed the sweep's own config with these already, and with no swept word.
        self._given = {word.input_line for word in parse(master.hydra.overrides.task) if not word.is_sweep_override()}
        self._options: dict[tuple[str, ...] | None, DictConfig] = {}

    def __call__(self, words: Sequence[str]) -> DictConfig:
        """Raises Hydra's own errors."""
        from hydra._internal.config_loader_impl import ConfigLoaderImpl

        parsed = parse(words)
        values = [
            word for word in parsed if word.package is None and word.key_or_group not in self._groups and not word.is_hydra_override()
        ]
        rest: tuple[str, ...] | None = tuple(word.input_line for word in parsed if word not in values)
        if not rest and self._given <= {word.input_line for word in parsed}:
            rest = None  # but for its values the point is the sweep's own config
        if rest not in self._options:
            self._options[rest] = copy.deepcopy(self._master) if rest is None else self._loader.load_sweep_config(self._master, list(rest))
            with open_dict(self._options[rest]):
                del self._options[rest]["hydra"]
        config = copy.deepcopy(self._options[rest])
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        return config


def checked_point(config: DictConfig, words: Sequence[str], warned: set[str]) -> Point:
    """The point of a composed config. Says each warning once. Raises ConfigError."""
    try:
        plain_config = typed(config)
        _check_source(plain_config)
        _check_model(plain_config)
        for message in validate(plain_config, touched(words)):
            if message not in warned:
                warned.add(message)
                print(f"warning: {message}", file=sys.stderr)
    except ConfigError as error:
        raise ConfigError(f"{error}\n  in the point: {' '.join(words) or 'default'}") from None
    return Point.of(plain_config, words)


def _check_source(config: Config) -> None:
    """Raise ConfigError for a table that cannot be read or has fewer pairs than data.size asks for."""
    try:
        there = available(config.data)
    except (OSError, ValueError) as error:
        raise ConfigError(f"data={config.data.name}: {error}") from None
    if there is not None and config.data.size is not None and config.data.size > there:
        raise ConfigError(
            f"data.size={config.data.size} cannot act: {config.data.name} has {there} training pairs; take data.size={there} or null"
        )


def _check_model(config: Config) -> None:
    """Raise ConfigError for a directory that holds no model the lab can use."""
    path = config.model.path
    try:
        if path is not None and not is_hub_id(path):
            check(path)
    except BadCheckpoint as error:
        raise ConfigError(f"model.path: {error}") from None


def default_workers(device: str) -> int:
    """One stage a GPU, or one a core this process may use."""
    if device == "cuda":
        return len(visible_gpus())
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_points(points: Sequence[Point], workers: int | None = None, sweep: str | None = None) -> dict[str, str]:
    """State by point key. All points share one root. Raises ConfigError when a stage wants more GPUs than there are."""
    from lore_lab.stages.executor import Executor
    from lore_lab.stages.progress import Progress

    wanted = max(gpus_needed(node.config.get("compute", {})) for point in points for node in point.nodes.values())
    gpus = visible_gpus() if wanted else []
    if wanted > len(gpus):
        raise ConfigError(f"compute.processes={wanted} takes a GPU each, and there are {len(gpus)}: {', '.join(gpus)}")
    workers = workers or default_workers("cuda" if wanted else "cpu")
    return Executor(Store(points[0].config.root), workers, Progress(), Gpus(gpus)).run(points, sweep)


def run_single(config: DictConfig, words: Sequence[str]) -> int:
    """One point, without a sweep. Returns the exit code."""
    point = checked_point(config, words, set())
    if os.environ.get(PLAN_ONLY):
        from lore_lab.stages.plan import print_plan

        print_plan([point], Store(point.config.root))
        return 0
    state = run_points([point])[point.key]
    _print_point(Path(point.config.root), point)
    return 0 if state == "done" else 1


def run_sweep(arguments: Sequence[str], loader: Any, master: DictConfig, launcher: Any) -> None:
    """All points of a multirun, as `complete` runs them."""
    job_overrides, axes = expand(arguments)
    points = compose_points(job_overrides, loader, master)
    check_distinct(points)
    complete(points, axes, "python train.py -m " + shlex.join(arguments), launcher)


def check_distinct(points: Sequence[Point]) -> None:
    """Raises ConfigError where two points of a sweep have the same settings: a word of the command then overrules what an option sets, and
    the arms would be one. `guard=warn` lets them be."""
    seen: dict[str, Point] = {}
    for point in points:
        first = seen.setdefault(point.key, point)
        if first is not point and point.config.guard == "error":
            own, other = (
                " ".join(word for word in one.overrides if word not in both.overrides) for one, both in ((point, first), (first, point))
            )
            raise ConfigError(
                f"{other or point.title} and {own or 'the same again'} are one point: all their settings are the same. A word of the command wins over what "
                "an option of a group sets; leave it out, or one of the two; or set guard=warn to run them as one"
            )


def complete(
    points: Sequence[Point], axes: Mapping[str, Sequence[str]], command: str, launcher: Any, named: str = "", **extra: Any
) -> None:
    """All points through `launcher`, as one sweep; the table and the record at the end. Exits non-zero unless every point is done.

    named: what named the points' arms. extra: further content of the sweep's record.
    """
    root = Path(points[0].config.root)
    if os.environ.get(PLAN_ONLY):
        from lore_lab.stages.plan import print_plan

        print_plan(points, Store(root))
        return
    folder = write_sweep(root, points, axes, command, named, **extra)
    states = launch(points, [point.overrides for point in points], launcher, folder.name)
    write_sweep(root, points, axes, command, named, finished=now(), **extra)
    from rich.console import Console

    from lore_lab.analysis.summary import summarise_sweep  # pandas and matplotlib: only once there is something to show

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(summarise_sweep(root, folder.name))
    console.print(f"record, table and curves: {folder}", highlight=False, soft_wrap=True)
    if any(states[point.key] != "done" for point in points):
        raise SystemExit(1)


def launch(points: Sequence[Point], job_overrides: Sequence[Sequence[str]], launcher: Any, sweep: str) -> dict[str, str]:
    """Hand over; returns the state of every point by key. A launcher's own failure is reported and the points are counted all the same."""
    if hasattr(launcher, "workers"):
        return run_points(points, launcher.workers, sweep)
    store = Store(points[0].config.root)
    jobs = {  # a job for what is there already would cost its start
        point.key: [*words, *_job_words(point, sweep)]
        for point, words in zip(points, job_overrides, strict=True)
        if _state(store, point) != "done"
    }
    try:
        returns = launcher.launch(list(jobs.values()), initial_job_idx=0) if jobs else []
    except Exception as error:  # whatever a launcher raises, what is done is done
        print(f"warning: the launcher ended with {error.__class__.__name__}: {error}", file=sys.stderr)
        returns = []
    states = {point.key: _state(store, point) for point in points}
    raised = {key: job._return_value for key, job in zip(jobs, returns, strict=False) if isinstance(job._return_value, Exception)}
    for point in points:
        if states[point.key] not in ("done", "failed"):
            why = raised.get(point.key) or "its job ended without a result; the same command again goes on with it"
            print(f"warning: {point.title} is {states[point.key]}: {why}", file=sys.stderr)
    return states


def _job_words(point: Point, sweep: str) -> list[str]:
    """Words that tell a job what it was planned as. As Hydra's own they are no part of the point."""
    told = {SWEEP: sweep, PLANNED: point.key, DEVICE: resolve_device(point.config.compute.device)}
    return [f"++hydra.job.env_set.{name}='{value}'" for name, value in told.items()]


_HEADLINE = ("macro_f1", "ndcg@10", "acc@4", "acc@2", "pass@1", "pass@8", "invalid_rate", "optimistic_error_share", "cot_tokens")


def _print_point(root: Path, point: Point) -> None:
    """Stages with their seconds, then the metrics of every evaluated policy and of the baselines."""
    from rich.console import Console
    from rich.table import Table

    record = read_json(point.folder(root) / "point.json") or {}
    console = Console(width=None if sys.stdout.isatty() else 160)
    stages = Table("stage", "artifact", "seconds", title=f"point {point.key}: {record['state']}")
    for stage in record["stages"]:
        stages.add_row(
            stage["role"], str(root / "store" / stage["stage"] / stage["key"]), "cached" if stage["cached"] else f"{stage['seconds']:.1f}"
        )
    console.print(stages)
    if record["error"]:
        console.print(f"failed: {record['error']} (log: {record['log']})", highlight=False, markup=False, soft_wrap=True)
    metrics = record["metrics"]
    table = Table("judge", *_HEADLINE)
    judges = {node.inputs["policy"].role: node.role for node in point.targets if node.stage == "eval"}
    judges |= {f"({name})": f"baseline/{name}" for name in point.config.eval.baselines}
    for judge, prefix in judges.items():
        cells = [f"{metrics[f'{prefix}/{name}']:.3f}" if f"{prefix}/{name}" in metrics else "-" for name in _HEADLINE]
        low, high = metrics.get(f"{prefix}/macro_f1/low"), metrics.get(f"{prefix}/macro_f1/high")
        if low is not None and high is not None:
            cells[0] += f" [{low:.3f}, {high:.3f}]"
        table.add_row(judge, *cells)
    console.print(table)


def _state(store: Store, point: Point) -> str:
    """As `lore-lab status` has it; "missing" without a record, and where a finished point's artifacts are gone."""
    record = read_json(point.folder(store.root) / "point.json")
    state = point_state(point.folder(store.root), record) if record else "missing"
    return state if state != "done" or all(store.exists(node.stage, node.key) for node in point.targets) else "missing"


def run_job(config: DictConfig, words: Sequence[str]) -> None:
    """One point of a sweep, inside a launcher's own process. Raises RuntimeError when it did not finish, or is another point than was planned."""
    point = checked_point(config, words, set())
    planned = os.environ.get(PLANNED, point.key)
    if planned != point.key:
        raise RuntimeError(
            f"the command planned the point {planned}; on {socket.gethostname()} the same words make {point.key}. "
            "Its code, its library versions or its data files differ from those where the command was given"
        )
    if run_points([point], workers=1, sweep=os.environ.get(SWEEP))[point.key] != "done":
        record = read_json(point.folder(Path(point.config.root)) / "point.json") or {}
        raise RuntimeError(f"point {point.title} failed: {record.get('error')} (log: {record.get('log')})")

"""`lore-lab`: look at what is there, tidy it. Training is `python train.py`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lore_lab.planner.hours import Gpu
from lore_lab.stages.records import point_state, read_json
from lore_lab.stages.store import DamagedArtifactWarning, Store

if TYPE_CHECKING:
    from lore_lab.claims.standing import Standing


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)


def _age(moment: str | None) -> str:
    if moment is None:
        return "-"
    seconds = int(time.time() - datetime.fromisoformat(moment).timestamp())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"


def status(arguments: argparse.Namespace) -> int:
    root = Path(arguments.root)
    points = {path.parent.name: record for path in sorted(root.glob("points/*/point.json")) if (record := read_json(path))}
    states = {key: point_state(root / "points" / key, record) for key, record in points.items()}
    sweeps = Table("sweep", "done", "running", "queued", "failed", "interrupted", "age", "command", title="sweeps")
    for path in sorted(root.glob("sweeps/*/sweep.json")):
        sweep = read_json(path) or {}
        found = [states.get(point["point"], "queued") for point in sweep["points"]]
        counts = [str(found.count(state)) for state in ("done", "running", "queued", "failed", "interrupted")]
        sweeps.add_row(sweep["sweep"], *counts, _age(sweep["created"]), sweep["command"])
    table = Table("point", "state", "age", "seconds", "overrides", "error", title="points")
    for key, record in points.items():
        age = _age(record["finished"] or record["started"])
        table.add_row(key, states[key], age, f"{record['seconds']:.0f}", " ".join(record["overrides"]) or "default", record["error"] or "")
    for shown in (sweeps, table):
        _console().print(shown)
    return 0


def cache_ls(arguments: argparse.Namespace) -> int:
    store = Store(arguments.root)
    table = Table("stage", "key", "MB", "seconds", "created")
    for stage, key, path in store.all():
        manifest = read_json(path / "manifest.json") or {"files": {}, "seconds": 0.0, "created": "?"}
        size = sum(file["size"] for file in manifest["files"].values()) / 1e6
        table.add_row(stage, key, f"{size:.1f}", f"{manifest['seconds']:.0f}", manifest["created"])
    _console().print(table)
    return 0


def cache_verify(arguments: argparse.Namespace) -> int:
    """Read every byte; set damaged artifacts aside. Exit code 1 when there was one."""
    store = Store(arguments.root)
    found = list(store.all())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DamagedArtifactWarning)
        whole = sum(store.find(stage, key) is not None for stage, key, _ in found)
    for warning in caught:
        print(warning.message)
    print(f"{whole} of {len(found)} artifacts are whole")
    return int(whole != len(found))


def cache_gc(arguments: argparse.Namespace) -> int:
    """Remove artifacts that no recorded point uses, and what was set aside as damaged."""
    store = Store(arguments.root)
    used = {
        (stage["stage"], stage["key"])
        for path in store.root.glob("points/*/point.json")
        for stage in (read_json(path) or {"stages": []})["stages"]
    }
    doomed = [(stage, key, path) for stage, key, path in store.all() if (stage, key) not in used]
    for stage, key, path in doomed:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        if arguments.dry_run:
            print(f"would remove {stage} {key} ({size:.1f} MB)")
            continue
        lease = store.lease(stage, key)
        if not lease.acquire():
            print(f"kept {stage} {key}: a process is at work on it")
            continue
        try:
            store.discard(stage, key)
        finally:
            lease.release()
        print(f"removed {stage} {key} ({size:.1f} MB)")
    damaged = store.root / "damaged"
    if damaged.is_dir() and not arguments.dry_run:
        shutil.rmtree(damaged)
    print(f"{len(doomed)} artifacts; {len(used)} are in use")
    return 0


def report(arguments: argparse.Namespace) -> int:
    from lore_lab.analysis.report import write_report
    from lore_lab.claims.standing import cards

    root = Path(arguments.root)
    shown = cards(_standings(root), root) if arguments.claims else ()
    print(write_report(root, arguments.sweep, arguments.output, claims=shown))
    return 0


def _standings(root: Path) -> list[Standing]:
    from lore_lab.claims.results import KeyBook
    from lore_lab.claims.standing import standings

    return standings(book=KeyBook(root / "claims" / "keys.json"))


def claims(arguments: argparse.Namespace) -> int:
    """Every claim with its standing; or the README's board, written anew."""
    from lore_lab.claims.standing import standings, write_board

    if arguments.write:
        write_board(Path(arguments.write), standings())
        return 0
    table = Table("claim", "tag", "standing", "effect [95 % interval]", "seeds", "stale", "budget, min", title="claims")
    found = _standings(Path(arguments.root))
    for own in found:
        seeds = f"{own.seeds}" if own.seeds else ""
        table.add_row(own.claim.name, own.claim.tag, own.outcome, "\n".join(own.effects), seeds, own.stale, f"{own.claim.budget:g}")
    _console().print(table)
    measured = [own for own in found if own.result]
    waiting = sum(not own.result and bool(own.claim.needs) for own in found)
    _console().print(
        f"{len(found)} claims: {len(measured)} measured ({sum(bool(own.stale) for own in measured)} stale), "
        f"{len(found) - len(measured) - waiting} runnable, {waiting} waiting for what the lab lacks"
    )
    return 0


def rl(arguments: argparse.Namespace) -> int:
    from lore_lab.analysis.laboratory import write_laboratory

    print(write_laboratory(arguments.root, arguments.sweep, arguments.output))
    return 0


def arms(arguments: argparse.Namespace) -> int:
    """What the RL laboratory can vary, from its registry."""
    from lore_lab.config.arms import ARMS

    table = Table("group", "option", "from", "formula", "parameters", "shown by", "cannot act when", title="arms")
    for arm in ARMS:
        table.add_row(
            arm.group,
            f"{arm.name} ({arm.switch})" if arm.switch else arm.name,
            arm.paper,
            arm.formula,
            " ".join(arm.keys),
            ", ".join(f"{sign.curve} {sign.how}" for sign in arm.signs),
            arm.why,
        )
    _console().print(table)
    return 0


def _deploy(run: Callable[[], int]) -> int:
    from lore_lab.config.errors import ConfigError

    try:
        return run()
    except (ConfigError, ValueError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2


def deploy_simulate(arguments: argparse.Namespace) -> int:
    from lore_lab.deploy.commands import simulate

    output = Path(arguments.output) if arguments.output else None
    say = _console().print
    return _deploy(lambda: simulate(Path(arguments.root), arguments.words, output, arguments.train, say))


def deploy_serve(arguments: argparse.Namespace) -> int:
    from lore_lab.deploy.commands import serve

    policy = Path(arguments.policy) if arguments.policy else None
    return _deploy(lambda: serve(Path(arguments.root), arguments.words, arguments.host, arguments.port, policy))


def data_describe(arguments: argparse.Namespace) -> int:
    """The datasheet of a source: for the world counts, hashes and rules; for a table what was read, repaired and dropped."""
    from lore_lab.config.compose import compose
    from lore_lab.config.errors import ConfigError
    from lore_lab.data.registry import load_source
    from lore_lab.stages.graph import plain

    try:
        config = compose(tuple(arguments.words))
        source = load_source(plain(config)["data"])
        if config.data.name == "world":
            from lore_lab.data.world.describe import datasheet, rule_table

            print(f"{datasheet(source)}\n\n{rule_table(source)}")  # type: ignore[arg-type]
        else:
            sizes = {split: source.size(split) for split in ("train", "validation", "wild")}  # type: ignore[arg-type]
            print(
                json.dumps({"grades": source.grades, "pairs": sizes, "report": source.report()}, indent=1, ensure_ascii=False, default=str)
            )
    except (ConfigError, ValueError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """What a command needs of a GPU. Exit code 1 where something does not fit."""
    from hydra.errors import HydraException

    from lore_lab.config.compose import compose
    from lore_lab.config.errors import ConfigError
    from lore_lab.config.overrides import companions
    from lore_lab.config.validate import problems
    from lore_lab.planner.table import plan as planned
    from lore_lab.planner.table import show

    try:
        words = [*arguments.words, *companions(arguments.words)]
        config = compose(tuple(words))
        if found := problems(config):
            raise ConfigError("\n".join(found))
        gpu = Gpu(arguments.gpu_memory, arguments.gpus, **{name: getattr(arguments, name) for name in _GPU})
        for shown in show(words, config, gpu):
            _console().print(shown, highlight=False)
        return int(any(row.peak > gpu.usable for row in planned(config, gpu, sharded=gpu.count > 1)))
    except (ConfigError, HydraException, ValueError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2


def export(arguments: argparse.Namespace) -> int:
    from lore_lab.export import export_point

    try:
        print(export_point(Path(arguments.root), arguments.point, Path(arguments.directory)))
    except (LookupError, ValueError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    return 0


#: what a plan stands on, and the command may say better
_GPU = {
    "tflops": "dense bfloat16 peak of a GPU, TFLOP/s",
    "bandwidth": "of its memory, GB/s",
    "utilisation": "share of the peak reached in training",
    "decoding": "share of the bandwidth reached in generation",
    "reserve": "share of the memory left for the CUDA context and fragmentation",
}


def parser() -> argparse.ArgumentParser:
    main_parser = argparse.ArgumentParser(prog="lore-lab", description="Look at artifacts, points and sweeps; tidy them.")
    main_parser.add_argument("--root", default="outputs", help="folder of artifacts, points and sweeps")
    commands = main_parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("status", help="sweeps and points with their states").set_defaults(run=status)
    cache = commands.add_parser("cache", help="the artifact store").add_subparsers(required=True, metavar="command")
    cache.add_parser("ls", help="artifacts with size and age").set_defaults(run=cache_ls)
    cache.add_parser("verify", help="check every byte; set damaged artifacts aside").set_defaults(run=cache_verify)
    collect = cache.add_parser("gc", help="remove artifacts that no point uses")
    collect.add_argument("--dry-run", action="store_true", help="say what would go")
    collect.set_defaults(run=cache_gc)
    commands.add_parser("arms", help="RL arms, rewards and curricula with their papers and formulas").set_defaults(run=arms)
    data = commands.add_parser("data", help="sources of examples").add_subparsers(required=True, metavar="command")
    describe = data.add_parser("describe", help="the datasheet of a source")
    describe.add_argument("words", nargs="*", help="overrides, e.g. data.profile=full, or data=chorus data.path=FOLDER")
    describe.set_defaults(run=data_describe)
    deploy = commands.add_parser("deploy", help="serving by query frequency: cache, ranker, LLM").add_subparsers(
        required=True, metavar="command"
    )
    simulator = deploy.add_parser("simulate", help="replay a query log against every split of the thresholds")
    simulator.add_argument("words", nargs="*", help="a point's key (the newest by default) and override words, e.g. deploy.load=0.5")
    simulator.add_argument("-o", "--output", help="folder; points/<key>/deploy by default")
    simulator.add_argument("--train", action="store_true", help="also compute stages before the tiers that are missing")
    simulator.set_defaults(run=deploy_simulate)
    server = deploy.add_parser("serve", help="the tiers as an HTTP service; stops with Ctrl-C")
    server.add_argument("words", nargs="*", metavar="point", help="a point's key; the newest with deploy on by default")
    server.add_argument("--host", default="127.0.0.1")
    server.add_argument("--port", type=int, default=8000)
    server.add_argument("--policy", help="another model's folder, under the point's prompts; its cache is then stale")
    server.set_defaults(run=deploy_serve)
    laboratory = commands.add_parser("rl", help="what the RL arms or curricula of a sweep come to: a table and pictures")
    laboratory.add_argument("sweep", nargs="?", help="sweep id; the newest one by default")
    laboratory.add_argument("-o", "--output", help="folder; sweeps/<id>/rl by default")
    laboratory.set_defaults(run=rl)
    planner = commands.add_parser("plan", help="GPU memory and hours of a command, by arithmetic")
    planner.add_argument("words", nargs="*", help="overrides, e.g. model=qwen2.5-7b peft=lora compute=gpu")
    planner.add_argument("--gpu-memory", type=float, default=80.0, help="GiB of one GPU")
    planner.add_argument("--gpus", type=int, default=1, help="GPUs that share one point")
    gpu = {field.name: field.default for field in dataclasses.fields(Gpu)}
    for name, text in _GPU.items():
        planner.add_argument(f"--{name}", type=float, default=gpu[name], help=text)
    planner.set_defaults(run=plan)
    exporter = commands.add_parser("export", help="a finished point's policy as a Hugging Face model directory with a model card")
    exporter.add_argument("point", help="key of the point, or the start of it (lore-lab status lists them)")
    exporter.add_argument("directory", help="a folder that is not there yet")
    exporter.set_defaults(run=export)
    lister = commands.add_parser("claims", help="the claims of the papers and how they stand")
    lister.add_argument("--write", metavar="PAGE", help="write the board into this Markdown page instead")
    lister.set_defaults(run=claims)
    reporter = commands.add_parser("report", help="one HTML file on a sweep")
    reporter.add_argument("sweep", nargs="?", help="sweep id; the newest one by default")
    reporter.add_argument("--claims", action="store_true", help="the board of claims and a page on each")
    reporter.add_argument("-o", "--output", default="report.html")
    reporter.set_defaults(run=report)
    return main_parser


def main(words: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    result: int = arguments.run(arguments)
    return result


if __name__ == "__main__":
    raise SystemExit(main())

"""`lore-lab deploy`: a finished point's policy replayed against a log, or served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from lore_lab.command import run_points
from lore_lab.config.compose import compose
from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import parse, touched
from lore_lab.config.validate import validate
from lore_lab.deploy.replay import pareto
from lore_lab.stages.records import Point, read_json
from lore_lab.stages.store import Artifact, Store, checksum

SHOWN = (
    "hot_from",
    "medium_from",
    "good_rate",
    "acc@4",
    "acc@2",
    "macro_f1",
    "cost",
    "share/cache",
    "share/ranker",
    "share/llm",
    "p50_ms",
    "p99_ms",
)


def simulate(root: Path, words: Sequence[str], output: Path | None, train: bool, say: Callable[[Any], None]) -> int:
    """Run the point's stages `tiers` and `deploy` where they are missing, then print and draw what they found. Returns the exit code.

    words: the beginning of a point's key, the newest one without it, and override words. Raises ConfigError, also where stages before
    them would run and `train` is not set.
    """
    point = deployed_point(root, _named(words), [word for word in words if "=" in word])
    store = Store(root)
    if (missing := trained_again(point, store)) and not train:
        raise ConfigError(
            f"{', '.join(missing)} would be computed anew: the code or the words are not those of the point. --train does so; "
            f"else take the words of a point that is there (lore-lab status)"
        )
    if run_points([point])[point.key] != "done":
        raise ConfigError(f"the point failed: {(read_json(point.folder(root) / 'point.json') or {}).get('error')}")
    node = point.nodes["deploy"]
    artifact = store.find(node.stage, node.key)
    assert artifact is not None, "a finished point has its deploy artifact"
    folder = output or point.folder(root) / "deploy"
    for table in show(artifact, folder):
        say(table)
    say(f"point {point.key}: frontier.csv, report.json, frontier.png in {folder}")
    return 0


def serve(root: Path, words: Sequence[str], host: str, port: int, policy: Path | None) -> int:
    """Serve a finished point with deploy on until interrupted. Raises ConfigError."""
    record = find_point(root, _named(words), deployed=True)
    try:
        import uvicorn

        from lore_lab.deploy.service import make_app
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error}: the service needs pip install 'lore-lab[serve]'") from None
    service = open_service(root, record, policy)
    # Only so many requests at once, or memory is the queue; the application's own queue is shorter and says why it refuses.
    uvicorn.run(make_app(service), host=host, port=port, log_level="warning", limit_concurrency=1024, timeout_keep_alive=5)
    return 0


def _named(words: Sequence[str]) -> str | None:
    """The word that is no override: a point's key."""
    return next((word for word in words if "=" not in word), None)


def find_point(root: Path, wanted: str | None, deployed: bool = False) -> dict[str, Any]:
    """The record of a finished point by the beginning of its key; the newest where none is named. deployed: only points with deploy on.

    Raises ConfigError with what there is.
    """
    records = [record for path in sorted(root.glob("points/*/point.json")) if (record := read_json(path)) and record["state"] == "done"]
    fitting = [record for record in records if not deployed or record["config"].get("deploy", {}).get("enabled")]
    chosen = [record for record in fitting if record["point"].startswith(wanted or "")]
    if not chosen:
        there = ", ".join(record["point"] for record in fitting) or "none"
        kind = "finished point with deploy on" if deployed else "finished point"
        raise ConfigError(f"{root}: no {kind}{f' {wanted}' if wanted else ''} (there: {there})")
    if wanted and len(chosen) > 1:
        raise ConfigError(f"{wanted} is the beginning of {len(chosen)} points: {', '.join(record['point'] for record in chosen)}")
    newest: dict[str, Any] = max(chosen, key=lambda record: record["finished"] or "")
    return newest


def deployed_point(root: Path, wanted: str | None, words: Sequence[str]) -> Point:
    """The point with its words, deploy=tiers unless they choose another, and `words`, which win. Raises ConfigError where it cannot run."""
    record = find_point(root, wanted)
    own = [word for word in record["overrides"] if not word.startswith(("root=", "tracking"))]
    chosen = {override.key_or_group for override in parse([*own, *words])}
    added = [] if "deploy" in chosen else ["deploy=tiers"]
    given = [*own, *added, *words, f"root={root}", "tracking=local"]
    config = compose(tuple(given))
    validate(config, touched(given))
    return Point.of(config, given)


def trained_again(point: Point, store: Store) -> list[str]:
    """Stages behind the tiers that this code, or the words, would compute anew: the policy would be another one."""
    pending, found = [point.nodes["tiers"]], []
    while pending:
        node = pending.pop()
        found += [node.role] if node.stage != "tiers" and not store.exists(node.stage, node.key) else []
        pending += node.inputs.values()
    return sorted(set(found))


def frontier_table(frontier: pd.DataFrame, thresholds: dict[str, Any]) -> Table:
    """The splits that no other beats on both cost and GoodRate, cheapest first, and the named ones."""
    from lore_lab.deploy.picture import named

    best = frontier[pareto(frontier["cost"].to_numpy(float), frontier["good_rate"].to_numpy(float))].sort_values("cost")
    rows = [*((name, row) for name, row in named(frontier, thresholds).items()), *(("", row) for _, row in best.iterrows())]
    table = Table("", *SHOWN, title=f"{len(best)} of {len(frontier)} splits that no other beats on cost and GoodRate")
    for name, row in rows:
        table.add_row(name, *(_cell(row[column]) for column in SHOWN))
    return table


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "-"
    return str(int(value)) if isinstance(value, (int, np.integer)) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def cache_table(report: dict[str, Any]) -> Table:
    """The chosen thresholds under each state of the cache."""
    columns = ("answered", "good_rate", "acc@4", "macro_f1", "cost", "p50_ms", "p99_ms")
    table = Table(
        "cache", *columns, title="the chosen thresholds when the cache is whole, empty, stale or damaged; no state served a wrong label"
    )
    for state, row in report["cache"].items():
        table.add_row(state, *(_cell(row[column]) for column in columns))
    return table


def show(artifact: Artifact, output: Path) -> list[Table]:
    """Copy the artifact's figures to `output`, draw them, and give the tables to print."""
    from lore_lab.deploy.picture import plot_frontier

    output.mkdir(parents=True, exist_ok=True)
    for name in ("frontier.csv", "report.json"):
        shutil.copyfile(artifact.path / name, output / name)
    frontier = pd.read_csv(output / "frontier.csv").astype({"hot_from": "Int64", "medium_from": "Int64"})
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    plot_frontier(frontier, report["thresholds"], output / "frontier.png")
    times = Table("tier", "mean ms", "p50 ms", "p99 ms", title="measured, one request at a time")
    for tier, own in report["measured_ms"].items():
        times.add_row(tier, *(f"{own[name]:.3g}" for name in ("mean", "p50", "p99")))
    return [frontier_table(frontier, report["thresholds"]), cache_table(report), times]


def open_service(root: Path, record: dict[str, Any], policy: Path | None = None) -> Any:
    """The Service of a finished point with deploy on. policy: another model's folder under the point's prompts; the cache is then stale.

    The cache is copied out of the artifact to points/<key>/cache.sqlite once, where a filler may go on writing. Raises ConfigError for an
    artifact that is gone.
    """
    from lore_lab.deploy.cache import AnswerCache, answers_version
    from lore_lab.deploy.ranker import Ranker
    from lore_lab.deploy.router import Router, Thresholds
    from lore_lab.deploy.service import Service
    from lore_lab.prompts.render import PromptTooLong
    from lore_lab.stages.context import namespace
    from lore_lab.stages.functions.common import Pairs
    from lore_lab.stages.functions.tiers import CACHE, IDENTITY, load_judge
    from lore_lab.train.common import prepare

    store = Store(root)
    tiers, deploy = (_artifact(store, record, stage) for stage in ("tiers", "deploy"))
    settings = namespace(tiers.manifest["config"])
    prepare(settings.compute.device, settings.compute.threads)
    key = tiers.manifest["inputs"]["policy"]
    if policy is None:
        kind = next(stage["stage"] for stage in record["stages"] if stage["key"] == key)
        policy = _artifact(store, record, kind, key).path
    else:
        key = checksum(policy / "model.safetensors")
    pairs = Pairs.read(tiers)
    head = json.loads((tiers.path / IDENTITY).read_text(encoding="utf-8"))["instructions"]
    judge, renderer = load_judge(policy, settings, pairs, head)
    version = answers_version(tiers.manifest["config"], key, head)
    cache = root / "points" / record["point"] / CACHE
    if not cache.exists():
        shutil.copyfile(tiers.path / CACHE, cache)
    chosen = deploy.manifest["config"]["deploy"]
    counts = json.loads((deploy.path / "counts.json").read_text(encoding="utf-8"))
    router = Router(
        Thresholds(chosen["hot_from"], chosen["medium_from"]), counts, AnswerCache(cache, version, pairs.grades), Ranker.load(tiers.path)
    )

    def judged(examples: list[Any]) -> list[Any]:
        answers: list[Any] = [None] * len(examples)
        prompts = {}
        for place, example in enumerate(examples):
            try:
                prompts[place] = renderer.ids(example)
            except PromptTooLong as error:
                answers[place] = error
        found: Any = judge.answers(list(prompts.values())).probabilities if prompts else []
        for place, own in zip(prompts, found, strict=True):
            answers[place] = None if np.isnan(own[0]) else own
        return answers

    return Service(router, judged, pairs.source["grades"], pairs.source["relevant_from"], version)


def _artifact(store: Store, record: dict[str, Any], stage: str, key: str | None = None) -> Artifact:
    key = key or next(own["key"] for own in record["stages"] if own["stage"] == stage)
    artifact = store.find(stage, key)
    if artifact is None:
        raise ConfigError(f"{store.path(stage, key)} is gone: run the point again ({' '.join(record['overrides']) or 'default'})")
    return artifact

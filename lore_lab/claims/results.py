"""Results of claims: experiments/<paper>/<claim>.result.json, written by the run itself, committed, and stale when what they stand on moved."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lore_lab.claims.claim import EXPERIMENTS, Claim
from lore_lab.claims.run import arm_words
from lore_lab.config.compose import compose
from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import CONF
from lore_lab.data.registry import content
from lore_lab.stages.graph import SPECS, Node, build
from lore_lab.stages.keys import code_hash, digest, stage_key, version
from lore_lab.stages.records import commit, read_json
from lore_lab.stages.store import checksum, write_json

Result = dict[str, Any]
"""rule: what was judged how (Claim.rule). outcome, reason: of the claim. verdicts: one an arm (analysis.Verdict as plain data).
figures: arm -> metric -> one value a seed. subsets: arm -> rows of subset, seeds, difference, low, high (exploratory). stages: arm -> role ->
key, of the first seed. notes: sentences of the realised-effect check. profile: of the world. sweep: its id. commit, versions, device. seconds:
of every stage, each once. measured: when the last stage was."""


def result_path(name: str, folder: Path = EXPERIMENTS) -> Path:
    return folder / f"{name}.result.json"


def load_result(name: str, folder: Path = EXPERIMENTS) -> Result | None:
    """The committed result; None where the claim was not measured."""
    return read_json(result_path(name, folder))


def write_result(path: Path, result: Result) -> None:
    write_json(path, result)


def make_result(claim: Claim, root: Path, sweep: str) -> Result:
    """Judge a finished sweep of the claim. Raises ValueError naming seeds without a value, KeyError a metric that was not measured."""
    from lore_lab.analysis.comparison import main_metrics, subset_effects
    from lore_lab.analysis.load import load_manifest, load_point, load_runs
    from lore_lab.analysis.measures import with_metric
    from lore_lab.analysis.realised import realised_effect
    from lore_lab.analysis.verdicts import overall, verdict

    runs = load_runs(root, sweep)
    for metric in (claim.metric, *claim.shown):
        runs = with_metric(runs, metric)
    baseline = None if claim.baseline == "none" else claim.baseline
    effect: dict[str, Any] = {"smallest_effect": claim.smallest_effect, "direction": claim.direction}
    verdicts = verdict(runs, baseline, claim.metric, arms=claim.judged, **effect)
    outcome, reason = overall(verdicts)
    seeds = [int(seed) for seed in dict.fromkeys(runs["seed"])]
    metrics = list(dict.fromkeys([claim.metric, *claim.shown, *main_metrics(runs.columns).values()]))
    table = runs.set_index(["arm", "seed"])
    others = [arm for arm in claim.ordered if arm != claim.baseline] if baseline else []
    stages = {stage for own in runs["stages"] for stage in own}
    manifests = [found for stage in sorted(stages) if (found := load_manifest(root, *stage))]
    first = {arm: load_point(root, str(own["point"].iloc[0])) or {} for arm, own in runs.groupby("arm", sort=False)}
    config = first[claim.ordered[0]]["config"]
    arm_of = dict(zip(runs["point"], runs["arm"], strict=True))
    doubts = Counter((arm_of[point], note) for point, own in realised_effect(runs, root).items() for note in own)
    return {
        "rule": claim.rule | {"seeds": seeds},
        "outcome": outcome,
        "reason": reason,
        "verdicts": [found.as_dict() for found in verdicts],
        "figures": {arm: {m: [_plain(table.at[(arm, seed), m]) for seed in seeds] for m in metrics} for arm in claim.ordered},
        "subsets": {arm: subset_effects(runs, arm, claim.baseline, claim.metric).to_dict("records") for arm in others},
        "stages": {arm: {stage["role"]: stage["key"] for stage in first[arm]["stages"]} for arm in claim.ordered},
        "notes": sorted(f"{arm}, {count} of {len(seeds)} seeds: {note}" for (arm, note), count in doubts.items()),
        "profile": config["data"].get("profile", config["data"]["name"]),
        "sweep": sweep,
        "commit": commit(),
        "versions": {name: value for manifest in manifests for name, value in sorted(manifest["versions"].items())},
        "device": config["compute"]["device"],
        "seconds": round(sum(float(manifest["seconds"]) for manifest in manifests), 1),
        "measured": max(str(manifest.get("created", "")) for manifest in manifests),
    }


def _plain(value: Any) -> float | None:
    """A number for JSON; None where it is not finite."""
    number = float(value)
    return number if number - number == 0 else None


def staleness(claim: Claim, result: Result, book: KeyBook) -> str:
    """Why the result no longer holds, "" where it does: the file says otherwise, other libraries, or a stage that would come out under another
    key. One seed is compared: the seed is part of every key alike."""
    moved = [key for key, value in claim.rule.items() if result["rule"].get(key) != value]
    if moved:
        return f"the claim's file now has another {', '.join(moved)}"
    libraries = [f"{name} {was} -> {is_}" for name, was in result["versions"].items() if (is_ := version(name)) != was]
    if libraries:
        return f"other libraries: {', '.join(libraries)}"
    try:
        words = {arm: tuple(own) for (arm, seed), own in arm_words(claim).items() if seed == claim.seeds[0]}
        present = {arm: book.keys(own, result["device"]) for arm, own in words.items()}
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        return f"the arms no longer compose: {str(error).splitlines()[0]}"
    for arm, keys in present.items():
        roles = [role for role, key in keys.items() if result["stages"][arm].get(role) != key]
        if roles:
            return f"code or settings of stage {roles[0]} changed"
    return ""


class KeyBook:
    """Stage keys that the present code, settings and libraries give to override words.

    Composing costs a tenth of a second an arm; so what a point's keys are made of, save code and versions, is kept in a file until conf/ or the
    code that composes and plans moves. The keys themselves are always derived from the present code.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        settings = {str(file.relative_to(CONF)): checksum(file) for file in sorted(CONF.rglob("*.yaml"))}
        self._state = digest([settings, code_hash(["lore_lab.config.compose", "lore_lab.stages.graph"]), version("hydra-core")])
        kept = read_json(path) if path else None
        self._recipes: dict[str, Recipe] = kept["recipes"] if kept and kept.get("state") == self._state else {}

    def keys(self, words: tuple[str, ...], device: str) -> dict[str, str]:
        """Role -> key of the point's stages, computed on `device`. Raises ConfigError and Hydra's own errors."""
        name = " ".join([*words, f"on {device}"])
        recipe = self._recipes.get(name)
        if recipe is None:
            config = compose(words)
            config = dataclasses.replace(config, compute=dataclasses.replace(config.compute, device=device))
            recipe = [_ingredients(node) for node in build(config).values()]
            if not content(config.data):  # a table's checksums are among the settings, and its files may move
                self._recipes[name] = recipe
        keys: dict[str, str] = {}
        for parts in recipe:
            inputs = {wanted: keys[source] for wanted, source in parts["inputs"].items()}
            keys[parts["role"]] = stage_key(parts["stage"], parts["config"], inputs, parts["modules"], SPECS[parts["stage"]].libraries)[0]
        return keys

    def save(self) -> None:
        if self._path and self._recipes:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, {"state": self._state, "recipes": self._recipes})


Recipe = list[dict[str, Any]]  #: of each stage, inputs before their users: role, stage, config slice, the roles it reads, modules


def _ingredients(node: Node) -> dict[str, Any]:
    inputs = {wanted: source.role for wanted, source in node.inputs.items()}
    return {"role": node.role, "stage": node.stage, "config": node.config, "inputs": inputs, "modules": node.parts["modules"]}


def verdict_lines(claim: Claim, result: Mapping[str, Any]) -> str:
    """What the seeds say, as text: the claim's outcome, then a line an arm."""
    lines = [f"{claim.name}: {result['outcome'].upper()} ({result['reason']})", f"  {claim.claim}"]
    return "\n".join([*lines, *(f"  {line}" for line in effect_lines(result["verdicts"]))])


def effect_lines(verdicts: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line an arm: name, outcome, effect with its interval, seeds."""
    return [f"{v['arm']}: {v['outcome']}, {effect(v)}, seeds: {len(v['seeds'])}" + _more(v["seeds_to_settle"]) for v in verdicts]


def effect(found: Mapping[str, Any]) -> str:
    """The effect with its plain 95 % interval; a bound that is not finite is shown as none."""
    low, high = (f"{found[side]:+.3f}" if found[side] is not None else "none" for side in ("low", "high"))
    return f"{found['effect']:+.3f} [{low}, {high}]"


def _more(seeds: int | None) -> str:
    return f"; about {seeds} seeds would settle it" if seeds else ""

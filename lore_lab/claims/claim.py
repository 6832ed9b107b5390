"""One claim of a paper as a file, experiments/<paper>/<claim>.yaml: what is claimed, where, and the experiment that tests it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lore_lab.config.errors import ConfigError
from lore_lab.config.fields import range_error, setting, walk
from lore_lab.config.overrides import CONF, parse

EXPERIMENTS = CONF.parent / "experiments"
LEAST_SEEDS = 5
#: the one need that a command can meet, with model.path
PRETRAINED = "pretrained model"
TAGS = ("paper", "secondary", "assumed")
DIRECTIONS = ("up", "down", "flat", "not up", "not down")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")


@dataclass
class Claim:
    """A claim and its experiment. Arms are lists of override words; every arm runs with every seed."""

    claim: str = setting("the claim in one sentence")
    source: str = setting("paper and section or table it was read from")
    tag: str = setting("who says so: the authors, secondary notes, or nobody (our reading)", choices=TAGS)
    metric: str = setting("a metric of the table of runs, or an expression over curves (lore_lab/analysis/measures.py)")
    direction: str = setting("where the metric goes, arm less baseline", choices=DIRECTIONS)
    smallest_effect: float = setting("smallest difference anyone would care about, in the metric's unit", gt=0)
    baseline: str = setting("arm the others are compared with; `none` where the metric is a difference itself")
    arms: dict[str, list[str]] = setting("arm -> override words; without the controls, all of them must go where the claim says")
    axes: list[str] = setting("dotted keys or sections of the config in which the arms may differ")
    seeds: list[int] = setting("at least 5", ge=0)
    budget: float = setting("minutes on two cores for all arms and seeds, nothing cached", gt=0)
    assumed: list[str] = setting("what the source does not say: values, readings, the smallest effect")
    setup: list[str] = field(default_factory=list, metadata={"doc": "override words of every arm"})
    follows: list[str] = field(default_factory=list, metadata={"doc": "keys that differ because an axis does"})
    controls: list[str] = field(default_factory=list, metadata={"doc": "arms that are measured and shown, not judged"})
    shown: list[str] = field(default_factory=list, metadata={"doc": "metrics that are shown beside the judged one, such as its price"})
    needs: str = field(default="", metadata={"doc": "what the lab or the embedded scale lacks; the file is refused before compute"})
    name: str = field(default="", metadata={"doc": "paper/claim, from the file's place"})

    @property
    def judged(self) -> list[str]:
        """The arms the verdict is about."""
        return [arm for arm in self.arms if arm != self.baseline and arm not in self.controls]

    @property
    def ordered(self) -> list[str]:
        """The arms, baseline first."""
        return sorted(self.arms, key=lambda arm: arm != self.baseline)

    @property
    def rule(self) -> dict[str, Any]:
        """What decides a verdict: a result of another rule is out of date."""
        return {
            key: getattr(self, key) for key in ("metric", "direction", "smallest_effect", "baseline", "arms", "setup", "seeds", "controls")
        }


def claim_names(folder: Path = EXPERIMENTS) -> list[str]:
    """paper/claim of every file, sorted."""
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.glob("*/*.yaml"))


def load_claim(name: str, folder: Path = EXPERIMENTS) -> Claim:
    """The claim of experiments/<name>.yaml. Raises ConfigError naming file, key, value and the nearest valid choice."""
    path = folder / f"{name}.yaml"
    names = claim_names(folder)
    if name not in names:
        raise ConfigError(f"experiment={name}: no such file{_near(name, names)} `lore-lab claims` lists all")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
        if not isinstance(content, dict):
            raise ConfigError(f"{name}.yaml: not a mapping of keys to values")
        known = [own.name for own in dataclasses.fields(Claim) if own.name != "name"]
        unknown = [str(key) for key in content if key not in known]
        if unknown:
            raise ConfigError(f"{name}.yaml: unknown key {unknown[0]!r}{_near(unknown[0], known)}")
        claim: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Claim), content, {"name": name}))
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise ConfigError(f"{name}.yaml: {key}{str(error).splitlines()[0]}") from None
    except YAMLError as error:
        raise ConfigError(f"{name}.yaml: {' '.join(str(error).split())}") from None
    found = _problems(claim)
    if found:
        raise ConfigError("\n".join(f"{name}.yaml: {problem}" for problem in found))
    return claim  # type: ignore[no-any-return]


def _near(wanted: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ";"


def _problems(claim: Claim) -> list[str]:
    """What is wrong with a claim of the right types; nothing of the config is composed."""
    found = [message for key, own, value in walk(claim) if (message := range_error(key, own, value))]
    if not claim.claim.strip() or not claim.source.strip():
        found.append("claim and source must say something")
    if len(set(claim.seeds)) < LEAST_SEEDS:
        found.append(f"seeds={claim.seeds}: at least {LEAST_SEEDS} different ones")
    odd = [arm for arm in claim.arms if not _NAME.fullmatch(arm)]
    if odd:
        found.append(f"arms.{odd[0]}: an arm's name is lower case letters, digits, _ and .")
    if claim.baseline != "none" and claim.baseline not in claim.arms:
        found.append(f"baseline={claim.baseline} is no arm (there: {', '.join(claim.arms)})")
    strangers = [arm for arm in claim.controls if arm not in claim.arms or arm == claim.baseline]
    if strangers:
        found.append(f"controls: {strangers[0]} is no arm beside the baseline")
    if not claim.judged:
        found.append("no arm is left to judge")
    return found + [problem for arm in claim.arms if (problem := _word_problem(arm, [*claim.setup, *claim.arms[arm]]))]


def _word_problem(arm: str, words: list[str]) -> str | None:
    for override in parse(words):
        if override.is_sweep_override() or override.key_or_group in ("seed", "root", "experiment"):
            return f"arms.{arm}: {override.input_line}: an arm is one setting, without seed, root and sweeps"
    return None

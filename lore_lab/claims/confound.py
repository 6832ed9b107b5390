"""The confound check: arms of one claim differ in the declared axes, what follows from them, and nothing else. On resolved configs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from lore_lab.claims.claim import Claim
from lore_lab.config.errors import ConfigError
from lore_lab.config.fields import walk
from lore_lab.config.overrides import companion_table
from lore_lab.config.schema import Config

#: in no stage key: where to write, what to print, the names of options and steps
_NO_MATTER = ("root", "guard", "tracking", "rl.arm", "recipe")
_ABSENT = "absent"


def check_confounds(claim: Claim, configs: Mapping[tuple[str, int], Config]) -> None:
    """configs: (arm, seed) -> resolved config. Raises ConfigError naming every field in which arms differ and must not, with both values;
    a declared axis in which all arms agree; two arms that are one."""
    allowed = [*claim.axes, *claim.follows, *_companions(claim.axes, configs.values())]
    found: list[str] = []
    moved: set[str] = set()
    for seed in sorted({seed for _, seed in configs}):
        trees = {arm: flat(config) for (arm, own), config in configs.items() if own == seed}
        for one, other in itertools.combinations(trees, 2):
            fields = differences(trees[one], trees[other])
            if not fields:
                found.append(f"arms {one} and {other} are the same: nothing would be compared")
            moved |= fields.keys()
            found += [
                f"arms {one} and {other} also differ in {key}: {values[0]!r} and {values[1]!r}; make them agree, or declare it in axes or follows"
                for key, values in fields.items()
                if not _covered(key, allowed)
            ]
    idle = [axis for axis in claim.axes if not any(_covered(key, [axis]) for key in moved)] if len(claim.arms) > 1 else []
    found += [f"axis {axis} is declared, but no two arms differ in it" for axis in idle]
    if found:
        raise ConfigError("\n".join(f"experiment={claim.name}: {message}" for message in dict.fromkeys(found)))


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field -> (value in one, value in the other), where they differ and it can matter."""
    keys = [*one, *(key for key in other if key not in one)]
    pairs = {key: (one.get(key, _ABSENT), other.get(key, _ABSENT)) for key in keys if not _covered(key, _NO_MATTER)}
    return {key: values for key, values in pairs.items() if values[0] != values[1]}


def axis_values(configs: Iterable[Config]) -> dict[str, list[str]]:
    """Field -> its values in order, for every field in which the configs differ: the axes of the sweep's record."""
    trees = [flat(config) for config in configs]
    keys = list(dict.fromkeys(key for tree in trees[1:] for key in differences(trees[0], tree)))
    return {key: list(dict.fromkeys(str(tree.get(key, _ABSENT)) for tree in trees)) for key in keys}


def flat(config: Config) -> dict[str, Any]:
    """Dotted key -> value of every field."""
    return {key: value for key, _, value in walk(config)}


def _covered(key: str, allowed: Iterable[str]) -> bool:
    return any(key == axis or key.startswith(f"{axis}.") for axis in allowed)


def _companions(axes: Iterable[str], configs: Iterable[Config]) -> set[str]:
    """Groups that a chosen option brings along (conf/companions.yaml), where its group is an axis."""
    tables = {group: table for group, table in companion_table().items() if group in axes}
    return {other for config in configs for group, table in tables.items() for other in table.get(getattr(config, group).name, {})}

"""Override keys against the schema, before Hydra composes anything: an unknown key is answered with the nearest known one."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lore_lab.config.errors import ConfigError
from lore_lab.config.recipe import chosen_groups
from lore_lab.config.schema import Config

CONF = Path(__file__).resolve().parents[2] / "conf"


@functools.cache
def groups(conf: Path = CONF) -> dict[str, list[str]]:
    """Config groups and their options. Hydra's own groups have options that are no files here: Hydra checks those."""
    found: dict[str, list[str]] = {}
    for path in sorted(conf.rglob("*.yaml")):
        if path.parent != conf and path.relative_to(conf).parts[0] != "hydra":
            found.setdefault(str(path.parent.relative_to(conf)), []).append(path.stem)
    return found


def known_keys(schema: type = Config, prefix: str = "") -> list[str]:
    """Dotted keys of the schema, those of every data and cot schema included."""
    from lore_lab.config.cot import CotConfig
    from lore_lab.config.table import TableConfig
    from lore_lab.config.world import WorldConfig

    variants: dict[str, tuple[type, ...]] = {"data": (WorldConfig, TableConfig), "cot": (CotConfig,)}
    types = typing.get_type_hints(schema)
    keys: list[str] = []
    for field in dataclasses.fields(schema):
        key = f"{prefix}{field.name}"
        keys.append(key)
        for nested in variants.get(key, (types[field.name],)):
            if dataclasses.is_dataclass(nested):
                keys += known_keys(typing.cast(type, nested), f"{key}.")
    return keys


def check_keys(keys: Iterable[str], conf: Path = CONF) -> None:
    """Raise ConfigError for a key that is neither in the schema nor a group. Keys of Hydra itself pass."""
    options = groups(conf)
    known = set(known_keys()) | set(options)
    for key in keys:
        name = key.partition("@")[0]
        if name in known or name == "hydra" or name.startswith(("hydra.", "hydra/")) or _free(name, known):
            continue
        near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        raise ConfigError(f"unknown key {name!r}{'; did you mean ' + ' or '.join(near) + '?' if near else ''}")


def check_options(choices: Iterable[tuple[str, str]], conf: Path = CONF) -> None:
    """Raise ConfigError for a group option that has no file. choices: (group, option)."""
    options = groups(conf)
    for group, option in choices:
        if group in options and option not in options[group]:
            near = difflib.get_close_matches(option, options[group], n=1, cutoff=0.4)
            raise ConfigError(
                f"{group}={option}: no such option{'; did you mean ' + near[0] + '?' if near else ''} There are: {', '.join(options[group])}"
            )


def _free(name: str, known: set[str]) -> bool:
    """Keys below a free mapping of a schema (column and label mappings) cannot be checked by name."""
    parent = name.rpartition(".")[0]
    return parent.startswith("data.") and parent in known and not any(key.startswith(f"{parent}.") for key in known)


def parse(arguments: Sequence[str]) -> list[Any]:
    """Hydra's own parse of override words. Raises ConfigError where the grammar does."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        return OverridesParser.create().parse_overrides(list(arguments))
    except OverrideParseException as error:
        raise ConfigError(str(error)) from None


def check(arguments: Sequence[str], conf: Path = CONF) -> None:
    """All of the above for the override words of a command line."""
    parsed = parse(arguments)
    check_keys((override.key_or_group for override in parsed if not override.is_delete()), conf)
    options, choices = groups(conf), []
    for override in parsed:
        if override.key_or_group in options and not override.is_delete():
            values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
            choices += [(override.key_or_group, str(value)) for value in values if not isinstance(value, (list, dict))]
    check_options(choices, conf)


def companions(arguments: Sequence[str], conf: Path = CONF) -> list[str]:
    """Words that chosen options bring along (conf/companions.yaml), less the groups the command names itself.

    Raises ConfigError when a sweep over such a group would need different ones, or a recipe chooses otherwise: what would be left is not the system.
    """
    parsed = parse(arguments)
    named = {override.key_or_group for override in parsed}
    if _reasons(parsed):
        named.add("format")
    words: list[str] = []
    for group, table in companion_table(conf).items():
        if options := values_of(parsed, group):
            words += _brought(group, options, table, named, values_of(parsed, "recipe"))
    return words


#: the option of a group that brings nothing along
_PLAIN = {"data": "world", "model": "embedded"}


def companion_table(conf: Path = CONF) -> dict[str, dict[str, dict[str, str]]]:
    """group -> option -> the groups it brings along, with their options."""
    found: dict[str, dict[str, dict[str, str]]] = yaml.safe_load((conf / "companions.yaml").read_text(encoding="utf-8"))
    return found


def _brought(group: str, options: Sequence[str], table: dict[str, dict[str, str]], named: set[str], recipes: Sequence[str]) -> list[str]:
    """What `options` of `group` bring along, all the same."""
    wanted = [{other: option for other, option in table.get(own, {}).items() if other not in named} for own in options]
    asked = f"{group}={','.join(options)}"
    if any(others != wanted[0] for others in wanted):
        raise ConfigError(f"{asked} need different {', '.join(sorted(set().union(*wanted)))}; name these groups in the command")
    for recipe in recipes:
        chosen = chosen_groups(recipe)
        fought = {other: option for other, option in wanted[0].items() if chosen.get(other, option) != option}
        if fought:
            mine = ", ".join(f"{other}={chosen[other]}" for other in fought)
            needed = [f"{other}={option}" for other, option in fought.items()]
            raise ConfigError(
                f"recipe={recipe} chooses {mine}, {asked} needs {', '.join(needed)} (conf/companions.yaml): take {group}={_PLAIN[group]}, "
                f"or name these groups in the command to run what is left of the system: {' '.join(needed)}"
            )
    return [f"{other}={option}" for other, option in wanted[0].items()]


def values_of(parsed: Iterable[Any], key: str) -> list[str]:
    """What the last override of `key` sets or sweeps; empty where there is none."""
    chosen = [override for override in parsed if override.key_or_group == key and not override.is_delete()][-1:]
    return [str(value) for own in chosen for value in (own.sweep_string_iterator() if own.is_sweep_override() else [own.value()])]


def split_seeds(words: Sequence[str], seeds: Sequence[int], owner: str) -> tuple[list[int], list[str]]:
    """(seeds, the other words) of words added to a command whose arms are given; `seed` replaces `seeds`. owner: who gives the arms.

    Raises ConfigError for a sweep over anything else.
    """
    chosen, others = list(seeds), []
    for override in parse(words):
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
        if override.key_or_group == "seed":
            chosen = [int(value) for value in values] or [int(override.value())]
        elif values:
            raise ConfigError(f"{owner} has its own arms: {override.input_line} cannot be swept beside them, only seed can")
        else:
            others.append(override.input_line)
    return chosen, others


def latest(words: Sequence[str]) -> list[str]:
    """The words that count: of several on one key the last."""
    return [str(override.input_line) for override in {override.get_key_element(): override for override in parse(words)}.values()]


def _reasons(parsed: Sequence[Any]) -> bool:
    """Whether the words choose a recipe that writes reasoning, which a label-only companion would leave no room for."""
    chosen = [override for override in parsed if override.key_or_group == "cot" and not override.is_delete()]
    options = [
        str(value) for word in chosen[-1:] for value in (word.sweep_string_iterator() if word.is_sweep_override() else [word.value()])
    ]
    return bool(options) and "none" not in options


def touched(arguments: Sequence[str]) -> list[str]:
    """Keys and groups a command line sets or sweeps, Hydra's own left out."""
    keys = [override.key_or_group for override in parse(arguments)]
    return [key for key in keys if not key.startswith("hydra")]

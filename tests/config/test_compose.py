"""Every shipped YAML composes into a complete, valid config, and the command in its header runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import OmegaConf

from lore_lab.config.fields import range_error, walk
from lore_lab.config.overrides import CONF, check, companions, groups, parse, touched
from lore_lab.config.schema import Config
from lore_lab.config.validate import validate
from tests.conftest import composed

Compose = Callable[..., Config]
FILES = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml"))
OPTIONS = [(group, option) for group, options in groups().items() for option in options]
#: a table is nothing without its file, nor a pretrained model without its directory
NEEDED = {("data", "world"): [], "data": ["data.path=pairs.parquet"], ("model", "pretrained"): ["model.path=./weights"]}


def words(group: str, option: str) -> list[str]:
    extra = NEEDED.get((group, option), NEEDED.get(group, []))
    return [f"{group}={option}", *extra]


def header_commands(file: str) -> list[list[str]]:
    """Override words of the `python train.py ...` commands in a file's comment lines; two spaces end a command."""
    comments = [line for line in (CONF / file).read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    found = [match[1] for line in comments if (match := re.search(r"python train\.py(.*?)(?: {2,}|$)", line))]
    return [[word for word in shlex.split(command) if word != "-m" and not word.startswith("step=")] for command in found]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_each_option_alone_gives_a_config_without_a_missing_or_forbidden_value(compose: Compose, group: str, option: str) -> None:
    overrides = words(group, option)
    assert OmegaConf.missing_keys(composed(tuple(overrides))) == set()
    config = compose(*overrides)
    assert [message for key, field, value in walk(config) if (message := range_error(key, field, value))] == []


def test_the_default_is_valid_and_shows_a_value_for_every_field(compose: Compose) -> None:
    assert validate(compose()) == []
    assert OmegaConf.missing_keys(composed(())) == set()


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="this PyYAML has no libyaml")
def test_libyaml_reads_every_option_as_pyyaml_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "numbers.yaml").write_text(
        "a: 1e-5\nb: 010\nc: 1_000\nd: no\ne: '08'\nf: .5\ng: null\nh: 12:30\ni: ${a}\nj: \"\\u00e9\"\n", encoding="utf-8"
    )
    files = [tmp_path / "numbers.yaml", *CONF.rglob("*.yaml"), *(CONF.parent / "experiments").rglob("*.yaml")]
    read = {}
    for loader in (yaml.loader.SafeLoader, yaml.CSafeLoader):
        monkeypatch.setattr(yaml, "SafeLoader", loader)
        read[loader] = [OmegaConf.to_yaml(OmegaConf.load(file)) for file in files]
        (tmp_path / "broken.yaml").write_text("rl:\n  clip: [0.2\nseed: 1\n")
        with pytest.raises(yaml.YAMLError, match=r"broken\.yaml(.|\n)*line 3"):
            OmegaConf.load(tmp_path / "broken.yaml")
    assert read[yaml.loader.SafeLoader] == read[yaml.CSafeLoader]


def test_a_table_without_its_file_names_the_missing_key() -> None:
    assert OmegaConf.missing_keys(composed(("data=table",))) == {"data.path"}


@pytest.mark.parametrize("file", FILES)
def test_the_command_in_the_header_is_accepted(compose: Compose, file: str) -> None:
    commands = header_commands(file)
    assert commands, "no header line with the command that uses the file"
    for command in commands:
        check(command)
        command += companions(command)
        for overrides in BasicSweeper.split_arguments(parse(command), max_batch_size=None)[0]:
            assert validate(compose(*overrides), touched(overrides)) == []


@pytest.mark.parametrize("file", [file for file in FILES if "/" in file])
def test_a_file_is_reached_by_the_command_in_its_header(file: str) -> None:
    option = Path(file)
    assert any(f"{option.parent}={option.stem}" in command for command in header_commands(file))


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("data.size", ("1000", "4000")),
        ("prompt", ("short", "medium", "long")),
        ("prompt.max_tokens", ("48", "96")),
        ("features", ("title", "attributes", "full")),
        ("cot", ("naive", "progressive", "multi")),
        ("rl.clip_high", ("0.2", "0.28")),
        ("curriculum", ("random", "easy_to_hard", "hard_to_easy")),
        ("reward", ("exact", "graded")),
        ("model", ("embedded",)),
        ("model.num_hidden_layers", ("2", "3")),
        ("seed", ("0", "1", "2")),
    ],
)
def test_every_named_axis_gives_a_different_valid_config_for_each_value(compose: Compose, axis: str, values: tuple[str, ...]) -> None:
    configs = [compose(f"{axis}={value}") for value in values]
    assert [validate(config, [axis]) for config in configs] == [[]] * len(values)
    assert len({repr(config) for config in configs}) == len(values)

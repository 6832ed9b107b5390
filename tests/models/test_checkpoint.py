"""A directory that cannot be used is refused before compute, by name and with what would do; sizes come from where they are known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lore_lab.command import checked_point
from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import CONF, check, companions
from lore_lab.config.schema import Config
from lore_lab.config.validate import problems
from lore_lab.models.checkpoint import BadCheckpoint, content, is_hub_id
from lore_lab.models.checkpoint import check as check_directory
from lore_lab.models.shape import longest, shape_of
from lore_lab.stages.graph import build
from tests.conftest import composed

Compose = Callable[..., Config]

CONFIG = {"model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "max_position_embeddings": 1024, "vocab_size": 300}  # fmt: skip


def directory(folder: Path, **files: Any) -> Path:
    """Files that look like a checkpoint. files: name with __ for a dot -> content; None takes a file away."""
    folder.mkdir(parents=True)
    given: dict[str, Any] = {"config__json": CONFIG, "tokenizer__json": {}, "tokenizer_config__json": {}, "model__safetensors": "x"}
    for name, value in (given | files).items():
        if value is not None:
            (folder / name.replace("__", ".")).write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no config": ({"config__json": None}, "config.json is missing"),
    "broken config": ({"config__json": "{"}, "config.json is not JSON"),
    "list as config": ({"config__json": "[]"}, "config.json is not a JSON object"),
    "remote code": ({"config__json": CONFIG | {"auto_map": {"AutoModel": "modeling.Evil"}}}, "config.json asks for code of its own (auto_map)"),
    "remote tokenizer": ({"tokenizer_config__json": {"auto_map": {"AutoTokenizer": ["t.T", None]}}}, "tokenizer_config.json asks for code of its own"),
    "quantised": ({"config__json": CONFIG | {"quantization_config": {}}}, "quantised weights"),
    "no tokenizer": ({"tokenizer__json": None}, "no tokenizer; add tokenizer.json or vocab.json with merges.txt or tokenizer.model"),
    "half a tokenizer": ({"tokenizer__json": None, "vocab__json": {}}, "no tokenizer"),
    "no tokenizer settings": ({"tokenizer_config__json": None}, "tokenizer_config.json is missing"),
    "no weights": ({"model__safetensors": None}, "no model.safetensors and no model.safetensors.index.json; save it anew with safetensors"),
    "pickled weights": ({"model__safetensors": None, "pytorch_model__bin": "x"}, "but pytorch_model.bin: pickled weights can run code and are not read"),
    "a shard short": (
        {"model__safetensors": None, "model__safetensors__index__json": INDEX, "model-00001-of-00002__safetensors": "x"},
        "names weights that are not there: model-00002-of-00002.safetensors",
    ),
    "an adapter": ({"config__json": None, "adapter_config__json": {}}, "holds an adapter, not a model"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_directory_that_cannot_be_used_is_refused_with_what_would_do(tmp_path: Path, case: str) -> None:
    files, message = BAD[case]
    with pytest.raises(BadCheckpoint) as caught:
        check_directory(str(directory(tmp_path / "m", **files)))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_command_with_such_a_directory_is_refused_before_its_stages_are_built(tmp_path: Path) -> None:
    folder = directory(tmp_path / "m", model__safetensors=None, pytorch_model__bin="x")
    words = ("model=pretrained", f"model.path={folder}")
    with pytest.raises(ConfigError, match=r"model\.path: .*pickled weights can run code"):
        checked_point(composed(words), words, set())
    with pytest.raises(ConfigError, match="is no directory here; a hub id is owner/name"):
        checked_point(composed(("model=pretrained", "model.path=./nowhere")), (), set())


def test_shards_make_a_whole_directory_and_an_edited_file_is_another_input(tmp_path: Path, compose: Compose) -> None:
    shards = {f"model-0000{number}-of-00002__safetensors": "x" for number in (1, 2)}
    folder = directory(tmp_path / "m", model__safetensors=None, model__safetensors__index__json=INDEX, **shards)
    check_directory(str(folder))
    assert set(content(str(folder))) == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json",
                                         *(name.replace("__", ".") for name in shards)}  # fmt: skip
    words = ("model=pretrained", f"model.path={folder}", "sft=pretrained", "rl=pretrained")
    before = build(compose(*words))
    (folder / "README.md").write_text("words")
    assert build(compose(*words))["base"].key == before["base"].key
    (folder / "model-00002-of-00002.safetensors").write_text("yy")
    assert build(compose(*words))["base"].key != before["base"].key


@pytest.mark.parametrize(
    ("path", "hub"), [("Qwen/Qwen3-8B", True), ("./Qwen/Qwen3-8B", False), ("/models/x", False), ("weights", False), ("a/b/c", False), ("~/m", False)]
)  # fmt: skip
def test_only_owner_and_name_make_a_hub_id(path: str, hub: bool) -> None:
    assert is_hub_id(path) == hub


NAMED = sorted(path.stem for path in (CONF / "model").glob("*.yaml") if path.stem[0] in "ql")
#: what the hub and the models' papers publish
PARAMETERS = {
    "qwen2.5-0.5b": 494_032_768, "qwen2.5-1.5b": 1_543_714_304, "qwen2.5-7b": 7_615_616_512, "qwen2.5-32b": 32_763_876_352, "qwen3-0.6b": 596_049_920,
    "qwen3-4b": 4_022_468_096, "qwen3-8b": 8_190_735_360, "qwen3-32b": 32_762_123_264, "llama-3.1-8b": 8_030_261_248,
}  # fmt: skip


def test_the_named_models_are_those_of_the_readme() -> None:
    assert sorted(PARAMETERS) == NAMED


@pytest.mark.parametrize("name", NAMED)
def test_a_named_model_is_pinned_counted_and_runs_with_its_header(compose: Compose, name: str) -> None:
    header = (CONF / "model" / f"{name}.yaml").read_text().splitlines()[0]
    words = header.removeprefix("# python train.py ").split("    ")[0].split()
    assert words[0] == f"model={name}"
    check(words)
    config = compose(*words, *companions(words))
    assert problems(config) == []
    assert config.model.name == name
    shape = shape_of(config.model)
    assert shape is not None
    assert shape.parameters == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,}" in header
    assert longest(config.model) == shape.max_position_embeddings
    assert config.sft.learning_rate == config.peft.rates.sft


def test_a_pretrained_model_brings_its_rates_and_lengths_and_the_command_wins(compose: Compose) -> None:
    words = ["model=qwen2.5-0.5b", "prompt=long"]
    assert sorted(companions(words)) == ["rl=pretrained", "sft=pretrained"]
    config = compose(*words, *companions(words))
    assert (config.prompt.max_tokens, config.rl.max_completion_length, config.eval.max_completion_length) == (7000, 512, 512)
    assert config.prompt.examples == 64
    assert [compose(*words[:1], f"prompt={option}").prompt.max_tokens for option in ("short", "medium", "long")] == [100, 800, 7000]
    assert [compose(f"prompt={option}").prompt.max_tokens for option in ("short", "medium", "long")] == [64, 288, 800]
    assert companions([*words, "sft=default", "rl=off"]) == []
    with pytest.raises(ConfigError, match="model=embedded,qwen3-8b need different rl, sft"):
        companions(["model=embedded,qwen3-8b"])


def test_a_pretrained_base_knows_nothing_of_the_data(compose: Compose) -> None:
    words = ("model=qwen2.5-0.5b", "sft=pretrained", "rl=pretrained")
    before, after = build(compose(*words)), build(compose(*words, "data.label_noise_rate=0.3"))
    assert before["base"].stage == "pretrained"
    assert before["base"].key == after["base"].key
    assert before["sft"].key != after["sft"].key
    assert build(compose(*words, "model.attention=eager"))["base"].key != before["base"].key


def test_an_adapter_has_all_policies_below_it_as_inputs_and_whole_weights_none(compose: Compose) -> None:
    lora = build(compose("peft=lora"))
    assert {name: node.role for name, node in lora["eval"].inputs.items()} == {
        "bench": "bench",
        "policy": "rl",
        "below_1": "sft",
        "below_2": "base",
    }
    assert {name: node.role for name, node in lora["rl"].inputs.items()} == {"data": "data", "policy": "sft", "below_1": "base"}
    assert set(build(compose())["eval"].inputs) == {"bench", "policy"}
    plain = build(compose())
    assert {role for role in plain if plain[role].key != lora[role].key} == {"sft", "sft_eval", "rl", "eval"}
    other = build(compose("peft=lora", "peft.rank=4"))
    assert {role for role in lora if lora[role].key != other[role].key} == {"sft", "sft_eval", "rl", "eval"}


def test_what_a_plan_needs_loads_no_torch() -> None:
    code = "import sys, lore_lab.planner.table, lore_lab.command; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

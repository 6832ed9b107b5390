"""Stage `dpo`: which answers make a pair, and a policy that learned from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from lore_lab.config.schema import Config
from lore_lab.data.example import Example
from lore_lab.stages.functions import dpo
from lore_lab.stages.functions.common import Pairs
from lore_lab.stages.graph import build
from lore_lab.tracking.local import read_table
from lore_lab.train.common import load_policy, load_tokenizer
from lore_lab.train.dpo import Preference
from tests.stages import lab

Compose = Callable[..., Config]


class Scripted:
    """An engine that answers by the prompt's first token: a completion is one token, its grade; 9 is invalid."""

    def __init__(self, greedy: dict[int, int], beams: dict[int, list[int]]) -> None:
        self.greedy, self.beams_of, self.searched = greedy, beams, list[int]()

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Any) -> list[list[int]]:
        assert sampling.temperature == 0
        return [[self.greedy[prompt[0]], 99] for prompt in prompts]

    def beams(self, prompts: Sequence[Sequence[int]], width: int, max_tokens: int) -> list[list[list[int]]]:
        self.searched += [prompt[0] for prompt in prompts]
        return [[[grade, 99 - place] for place, grade in enumerate(self.beams_of[prompt[0]])] for prompt in prompts]


def pair(label: int) -> Example:
    return Example("train-0", "q", "i", "shoe", {}, label, 3, 0.5)


def mined(errors: str, beams: dict[int, list[int]]) -> tuple[int, list[dpo.Found], Scripted]:
    """Five pairs, all of observed label 1, answered 1, 3, 2, 0 and with nothing valid; their prompts get shorter."""
    engine = Scripted({0: 1, 1: 3, 2: 2, 3: 0, 4: 9}, beams)
    examples = [pair(1)] * 5
    prompts = [[number] * (9 - number) for number in range(5)]
    config = SimpleNamespace(errors=errors, beams=3, max_completion_length=4)
    count, found = dpo.preferences(examples, prompts, engine, lambda ids: ids[0] if ids[0] < 9 else None, config, lambda *_: None)  # type: ignore[arg-type]
    return count, found, engine


def test_optimistic_errors_make_pairs_where_the_beam_holds_the_right_label() -> None:
    count, found, engine = mined("optimistic", {1: [3, 9, 1, 1], 2: [2, 3, 0]})
    assert count == 2
    assert sorted(engine.searched) == [1, 2]
    assert found == [dpo.Found(1, Preference([1] * 8, [1, 97], [3, 99]), 3)]


def test_all_errors_count_the_harsh_ones_too_but_no_invalid_answer() -> None:
    count, found, engine = mined("all", {1: [1, 3], 2: [2, 1], 3: [0, 1]})
    assert count == 3
    assert sorted(engine.searched) == [1, 2, 3]
    assert [(one.example, one.place) for one in found] == [(1, 1), (2, 2), (3, 2)]


def prepared(folder: Path, compose: Compose, *words: str) -> tuple[Any, Any]:
    small = ("max_steps=3", "per_device_train_batch_size=2", "examples=12", "max_completion_length=4", "learning_rate=0.01")
    config = compose(*lab.TINY, "dpo=default", "rl=off", "cot=none", "format=label_only", *(f"dpo.{word}" for word in small), *words)
    examples = lab.world(20)
    inputs = {"data": lab.data(folder / "data", examples), "policy": lab.policy(folder / "store" / "base" / "policy", config, examples)}
    inputs |= {
        name: inputs["policy"] for name in build(config)["dpo"].inputs if name.startswith("below")
    }  # whole weights need nothing below
    return lab.context(folder / "store" / "dpo", config, "dpo", inputs), load_tokenizer(inputs["policy"].path)


def test_a_policy_without_such_errors_is_told_what_to_change(tmp_path: Path, compose: Compose) -> None:
    """A random policy gives no valid answer at all."""
    own, _ = prepared(tmp_path, compose)
    with pytest.raises(ValueError, match=r"dpo: 12 training pairs gave 0 optimistic errors.*Take more dpo\.examples, dpo\.errors=all"):
        dpo.run(own)


def find(monkeypatch: pytest.MonkeyPatch, tokenizer: Any, asked: list[int]) -> None:
    """Eight errors, three of which make a pair: label 1 chosen, label 2 rejected."""
    end = tokenizer.eos_token_id
    first, second = (tokenizer.encode(str(label))[0] for label in (1, 2))

    def given(examples: Sequence[Example], prompts: Sequence[list[int]], *_: Any) -> tuple[int, list[dpo.Found]]:
        asked.append(len(examples))
        return 8, [dpo.Found(index, Preference(prompts[index], [first, end], [second, end]), 2) for index in (1, 4, 7)]

    monkeypatch.setattr(dpo, "preferences", given)


def test_the_stage_trains_on_what_it_found_and_writes_it_down(tmp_path: Path, compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    own, tokenizer = prepared(tmp_path, compose)
    asked: list[int] = []
    find(monkeypatch, tokenizer, asked)
    metrics = dpo.run(own)
    assert asked == [12]
    assert metrics["pairs"] == 3
    assert metrics["in_beam"] == pytest.approx(3 / 8)
    assert metrics["epochs"] == pytest.approx(2)
    examples = [example for _, example in Pairs.read(own.inputs["data"]).rows]
    assert metrics["chosen_wrong"] == pytest.approx(sum(examples[n].label != examples[n].gold for n in (1, 4, 7)) / 3)
    table = pd.read_parquet(own.output / "pairs.parquet")
    assert table["id"].tolist() == [examples[n].id for n in (1, 4, 7)]
    assert table[["chosen", "rejected"]].to_numpy().tolist() == [["1", "2"]] * 3
    before, after = (load_file(path / "model.safetensors") for path in (own.inputs["policy"].path, own.output))
    assert any((before[name] != after[name]).any() for name in before)
    assert {"dpo/loss", "dpo/rewards/margins", "dpo/rewards/accuracies", "dpo/logps/chosen"} <= lab.curves(own)


def test_adapters_learn_from_them_and_are_held_to_the_policy_below(
    tmp_path: Path, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, tokenizer = prepared(tmp_path, compose, "peft=lora", "peft.targets=[q_proj,v_proj]", "dpo.learning_rate=0.05")
    find(monkeypatch, tokenizer, [])
    dpo.run(own)
    assert not (own.output / "model.safetensors").exists()
    below, _ = load_policy(own.inputs["policy"].path, "cpu")
    ids = torch.tensor([[7, 30, 41, 52, 60, 12]])
    start = logits(below, ids)
    learned = logits(PeftModel.from_pretrained(below, str(own.output)), ids)
    merged, _ = load_policy(own.output, "cpu")
    torch.testing.assert_close(logits(merged, ids), learned, rtol=0, atol=2e-5)
    assert (learned - start).abs().max() > 0.01
    margins = [row["value"] for row in read_table(own.work).to_pylist() if row["name"] == "dpo/rewards/margins"]
    assert margins[0] == pytest.approx(0, abs=1e-5), "the reference is the policy below the adapter"
    assert margins[-1] > 1e-3


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids).logits
    return found

"""First-token decoding: the label greedy generation would write, for one forward pass, and samples from the same probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

from lore_lab.data.example import Example
from lore_lab.evaluate.decode import Policy, draw, first_token, generate
from lore_lab.evaluate.metrics import INVALID
from lore_lab.evaluate.predict import Pair
from lore_lab.prompts.formats import response_format
from lore_lab.rollout.engine import Sampling, TransformersEngine

END, PAD = 0, 1
SAMPLING = Sampling(1.0, 4)
COLUMNS = [f"probability/{grade}" for grade in range(1, 5)]


class Letters:
    """A token a character; the end token decodes as markup."""

    all_special_ids = (END,)

    def encode(self, text: str, **_: object) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return "".join("<end>" if token == END else chr(token) for token in ids)


class Counting(TransformersEngine):
    """Remembers what it was asked."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        self.generated = getattr(self, "generated", 0) + len(prompts)
        return super().generate(prompts, sampling)

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        self.lengths = [*getattr(self, "lengths", []), [len(prompt) for prompt in prompts]]
        return super().score(prompts, choices)


@pytest.fixture(scope="module")
def trained() -> Any:
    """A tiny model taught, not perfectly, to answer `<label><newline>x`; some prompts it was taught to answer with no label at all."""
    set_seed(3)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=128, initializer_range=0.3, pad_token_id=PAD, **sizes))
    model.generation_config.pad_token_id = PAD
    texts = torch.tensor([[*prompt, *map(ord, "?\nx" if prompt[0] % 5 == 4 else f"{prompt[0] % 4 + 1}\nx"), END] for prompt in prompts(3)])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        logits = model(texts).logits[:, 2:-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), texts[:, 3:].flatten()).backward()
        optimizer.step()
    return model.eval()


def prompts(length: int) -> list[list[int]]:
    return [[60 + number % 40, *(70 + (number * place) % 9 for place in range(1, length))] for number in range(60)]


def pairs() -> list[Pair]:
    """Prompts of two to five tokens, every third sampled."""
    found = []
    for number in range(60):
        example = Example(f"general-{number:02}", "q", "i", "dress", {"title": "red"}, number % 4, number % 3, 0.5)
        found.append(Pair(example, "general", prompts(2 + number % 4)[number], sampled=number % 3 == 0))
    return found


def policy(model: Any, layout: str = "answer_first", batch_size: int = 16) -> Policy:
    engine = Counting(model, PAD, (END,))
    return Policy(engine, Letters(), (END,), response_format(layout, 4), batch_size, lambda *_: None)


@pytest.mark.parametrize("layout", ["answer_first", "label_only"])
def test_the_label_is_the_one_greedy_generation_writes_whenever_that_is_valid(trained: Any, layout: str) -> None:
    written = generate(policy(trained, layout), pairs(), SAMPLING, 0, 0).query("mode == 'greedy'").set_index("example_id")
    read = first_token(policy(trained, layout), pairs(), SAMPLING, 0, 0).query("mode == 'greedy'").set_index("example_id")
    assert read.index.equals(written.index)
    starts = written["completion"].str[:1].isin(list("1234"))
    assert (read.loc[starts, "completion"] == written.loc[starts, "completion"].str[:1]).all()
    valid = written["predicted"] != INVALID
    assert (read.loc[valid, "predicted"] == written.loc[valid, "predicted"]).all()
    assert starts.any(), "no completion began with a label, so nothing is tested"
    if layout == "answer_first":
        assert valid.sum() > 10
        assert written.loc[valid, "predicted"].nunique() > 1
        assert (~valid).any(), "every completion is valid: the hard case is missing"
    np.testing.assert_allclose(read[COLUMNS], written[COLUMNS], atol=1e-5)


def test_nothing_is_generated_and_a_pair_costs_a_label(trained: Any) -> None:
    asked = policy(trained)
    table = first_token(asked, pairs(), SAMPLING, 8, 0)
    assert not hasattr(asked.engine, "generated")
    assert sum(map(len, asked.engine.lengths)) == 60, "one pass a pair, samples included"  # type: ignore[attr-defined]
    assert (table["tokens"] == 1).all()
    assert (table["reasoning_tokens"] == 0).all()
    assert table["problem"].isna().all()
    assert table["scored"].tolist() == (table["mode"] == "greedy").tolist()
    counts = table[table["mode"] == "sampled"].groupby("example_id").size()
    assert (len(counts), set(counts)) == (20, {8})


def test_prompts_of_like_length_share_a_batch_and_the_batch_decides_nothing(trained: Any) -> None:
    asked = policy(trained, batch_size=15)
    table = first_token(asked, pairs(), SAMPLING, 4, 0)
    assert [max(own) - min(own) for own in asked.engine.lengths] == [0, 0, 0, 0]  # type: ignore[attr-defined]
    other = first_token(policy(trained, batch_size=7), pairs(), SAMPLING, 4, 0)
    np.testing.assert_allclose(other[COLUMNS], table[COLUMNS], atol=1e-5)
    pd.testing.assert_frame_equal(other.drop(columns=[*COLUMNS, "score"]), table.drop(columns=[*COLUMNS, "score"]))


def test_samples_repeat_with_the_seed_and_follow_the_probabilities(trained: Any) -> None:
    def sampled(seed: int, temperature: float = 1.0) -> pd.DataFrame:
        table = first_token(policy(trained), pairs(), Sampling(temperature, 4), 500, seed)
        return table[table["mode"] == "sampled"].pivot(index="example_id", columns="sample", values="predicted")

    one = sampled(1)
    assert one.equals(sampled(1))
    assert not one.equals(sampled(2))
    found = first_token(policy(trained), pairs(), SAMPLING, 0, 0).set_index("example_id").loc[one.index, COLUMNS].to_numpy()
    shares = np.stack([(one == grade).mean(axis=1) for grade in range(4)], axis=1)
    assert np.abs(shares - found).max() < 5 * 0.5 / 500**0.5
    cold = sampled(1, temperature=0.01).to_numpy()
    certain = np.sort(found, axis=1)[:, -1] > 1.2 * np.sort(found, axis=1)[:, -2]
    assert (cold == found.argmax(axis=1)[:, None])[certain].all()


def test_a_draw_never_leaves_the_labels() -> None:
    rows = np.array([[0.5, 0.5 - 1e-9, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    found = draw(rows, 2000, 0)
    assert set(found[0]) == {0, 1}
    assert set(found[1]) == {3}


def test_a_layout_that_reasons_first_is_refused(trained: Any) -> None:
    with pytest.raises(ValueError, match=r"format=reason_first has no label to read before its reasoning; take eval\.decode=generate"):
        first_token(policy(trained, "reason_first"), pairs(), SAMPLING, 0, 0)

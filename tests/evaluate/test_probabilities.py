"""Label probabilities: what one padded pass gives is what the model says of each label alone, whatever its number of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

from lore_lab.evaluate.metrics import INVALID
from lore_lab.evaluate.probabilities import label_choices, label_prior, prior_corrected, with_probabilities
from lore_lab.prompts.formats import response_format
from lore_lab.rollout.engine import Sampling, TransformersEngine

REASON, LABEL = response_format("reason_first", 4), response_format("label_only", 4)


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    """A random model far from uniform."""
    set_seed(7)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    return TransformersEngine(Qwen2ForCausalLM(Qwen2Config(vocab_size=300, initializer_range=0.5, **sizes)), 0, (1,))


def alone(engine: TransformersEngine, prompt: Sequence[int], choice: Sequence[int]) -> float:
    """The choice's log-probability from a pass of its own, without padding."""
    with torch.no_grad():
        logits = engine.model(torch.tensor([[*prompt, *choice]])).logits[0].double()
    steps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return float(sum(step[token] for step, token in zip(steps, choice, strict=True)))


def test_a_batch_scores_each_choice_as_it_scores_alone(engine: TransformersEngine) -> None:
    prompts = [[5, 6, 7, 8, 9, 10, 11], [20], [30, 31, 32]]
    choices = [[[40], [41], [42]], [[50, 51], [52], [53, 54, 55]], [[60, 61], [60, 62]]]
    found = engine.score(prompts, choices)
    for prompt, own, scores in zip(prompts, choices, found, strict=True):
        assert scores == pytest.approx([alone(engine, prompt, choice) for choice in own], abs=1e-4)


def test_the_likeliest_next_token_is_the_greedy_one(engine: TransformersEngine) -> None:
    prompts = [[5, 6, 7, 8], [9], [10, 11]]
    scores = engine.score(prompts, [[[token] for token in range(300)]] * 3)
    assert np.exp(scores).sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-4)
    assert [int(np.argmax(row)) for row in scores] == [ids[0] for ids in engine.generate(prompts, Sampling(0.0, 1))]


def test_scoring_leaves_the_model_in_the_mode_it_was_in(engine: TransformersEngine) -> None:
    engine.model.train()
    engine.score([[3]], [[[4]]])
    assert engine.model.training


class Pieces:
    """A token a character, except that a label melts with the space before it."""

    def encode(self, text: str, **_: object) -> list[int]:
        ids: list[int] = []
        for place, letter in enumerate(text):
            if letter.isdigit() and place and text[place - 1] == " ":
                ids[-1] = 1000 + int(letter)
            else:
                ids.append(ord(letter))
        return ids


def test_a_label_that_shares_its_token_with_what_stands_before_is_found() -> None:
    shared, choices = label_choices("so\nanswer: ", Pieces(), REASON)
    assert shared == [ord(letter) for letter in "so\nanswer:"]
    assert choices == [[1001], [1002], [1003], [1004]]
    assert label_choices("", Pieces(), LABEL) == ([], [[ord(digit)] for digit in "1234"])


class Weigher:
    """Scores a label by the prompt's first token: that label is three times as likely as each other one."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        self.asked += [list(prompt) for prompt in prompts]
        return [
            [math.log(0.3 if place == prompt[0] else 0.1) for place, _ in enumerate(own)]
            for prompt, own in zip(prompts, choices, strict=True)
        ]


def table(*completions: tuple[str, int]) -> pd.DataFrame:
    rows = [(f"e{n}", "greedy", predicted, text) for n, (text, predicted) in enumerate(completions)]
    rows += [("e0", "sampled", 1, "so\nanswer: 2")]
    return pd.DataFrame(rows, columns=["example_id", "mode", "predicted", "completion"])


PROMPTS = {f"e{n}": [n % 4] * (3 - n % 3) for n in range(8)}


def probabilities(found: pd.DataFrame) -> np.ndarray:
    return found[[f"probability/{grade}" for grade in range(1, 5)]].to_numpy()


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_each_pair_gets_its_own_distribution_whatever_the_batch(batch_size: int) -> None:
    engine, answers = Weigher(), [("so\nanswer: 2", 1), ("well\nanswer: 1", 0), ("if\nanswer: 4", 3), ("so\nanswer: 3", 2)]
    found = with_probabilities(table(*answers), PROMPTS, engine, Pieces(), REASON, batch_size, lambda *_: None)  # type: ignore[arg-type]
    greedy = found[found["mode"] == "greedy"]
    assert probabilities(greedy).argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert probabilities(greedy)[0] == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])
    assert greedy["score"].tolist() == pytest.approx([1, 8 / 6, 10 / 6, 2])
    assert greedy["scored"].all()
    assert sorted(map(len, engine.asked)) == sorted(len(PROMPTS[f"e{n}"]) + len(text) - 2 for n, (text, _) in enumerate(answers))
    sampled = found[found["mode"] == "sampled"]
    assert np.isnan(probabilities(sampled)).all()
    assert not sampled["scored"].any()


def test_an_invalid_answer_gets_the_mean_of_the_others_and_is_counted() -> None:
    answers = [("so\nanswer: 2", 1), ("hm", INVALID), ("so\nanswer: 2", 1)]
    found = with_probabilities(table(*answers), PROMPTS, Weigher(), Pieces(), REASON, 4, lambda *_: None)  # type: ignore[arg-type]
    assert found["scored"].tolist() == [True, False, True, False]
    rows = probabilities(found)
    assert rows[1] == pytest.approx((rows[0] + rows[2]) / 2)


def test_without_a_valid_answer_nothing_is_known() -> None:
    found = with_probabilities(table(("hm", INVALID)), PROMPTS, Weigher(), Pieces(), REASON, 4, lambda *_: None)  # type: ignore[arg-type]
    assert probabilities(found)[0].tolist() == [0.25] * 4


def test_a_label_that_comes_first_has_a_place_whatever_the_completion_became() -> None:
    engine = Weigher()
    found = with_probabilities(table(("hm", INVALID)), PROMPTS, engine, Pieces(), LABEL, 4, lambda *_: None)  # type: ignore[arg-type]
    assert found["scored"].tolist() == [True, False]
    assert engine.asked == [PROMPTS["e0"]]


def test_the_prior_counts_labels_and_gives_none_the_share_zero() -> None:
    assert label_prior([3, 3, 3, 1], 4).tolist() == [1 / 8, 2 / 8, 1 / 8, 4 / 8]
    assert label_prior([0] * 96, 4).tolist() == [0.97, 0.01, 0.01, 0.01]


def test_the_correction_takes_the_label_that_gains_most_over_its_prior() -> None:
    """Worked out by hand: each row's probabilities over (0.4, 0.3, 0.2, 0.1); invalid, sampled and beam rows are left alone."""
    rows = [
        ("greedy", 0, True, 0.6, 0.3, 0.05, 0.05),  # 1.5, 1, .25, .5: stays
        ("greedy", 0, True, 0.4, 0.35, 0.2, 0.05),  # 1, 1.17, 1, .5: becomes 1
        ("greedy", 0, True, 0.5, 0.2, 0.1, 0.2),  # 1.25, .67, .5, 2: becomes 3
        ("greedy", INVALID, True, 0.1, 0.2, 0.3, 0.4),
        ("greedy", 2, False, 0.1, 0.2, 0.3, 0.4),
        ("sampled", 2, False, *[float("nan")] * 4),
    ]
    given = pd.DataFrame(rows, columns=["mode", "predicted", "scored", *(f"probability/{label}" for label in range(1, 5))])
    found = prior_corrected(given, np.array([0.4, 0.3, 0.2, 0.1]))
    assert found["predicted"].tolist() == [0, 1, 3, INVALID, 2, 2]
    assert found["answered"].tolist() == given["predicted"].tolist() == [0, 0, 0, INVALID, 2, 2]
    assert (prior_corrected(given, np.full(4, 0.25))["predicted"][:3] == 0).all(), "an even prior corrects nothing"

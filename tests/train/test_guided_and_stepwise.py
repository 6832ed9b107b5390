"""Guided replay keeps the original prompt and the right behaviour policy; stepwise credit reaches exactly a step's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lore_lab.cot.words import SECTIONS
from lore_lab.prompts.formats import response_format
from lore_lab.prompts.hint import hint_lines
from lore_lab.rewards.judge import Outcome
from lore_lab.rewards.spans import LABEL, Spans
from lore_lab.rewards.steps import step_rewards
from lore_lab.train.base import train_tokenizer
from lore_lab.train.guided_replay import rows_to_replay
from lore_lab.train.stepwise import credit, step_advantages
from tests.rewards.test_adversarial import EXAMPLE, FACTS, REASONING, RIGHT

from . import lab


def test_wrong_completions_are_replayed_first_and_only_in_failing_groups() -> None:
    assert rows_to_replay([True, False, True, True], 0.5, 0.5) == []
    assert rows_to_replay([True, False, True, False], 0.5, 0.5) == [1, 3]
    assert rows_to_replay([False, False, True, False], 0.25, 0.5) == [0, 1]
    assert rows_to_replay([False] * 4, 0.0, 1.0) == [0, 1, 2, 3]


def hopeless_first(indices: Sequence[int], completions: Sequence[list[int]]) -> list[Outcome]:
    """Examples 0 and 1 fail unless every completion of the group differs in kind; the rest alternate."""
    right = [index > 1 and place % 2 == 0 for place, index in enumerate(indices)]
    return [Outcome(float(value), value, True, 0) for value in right]


@pytest.mark.parametrize("correction", ["none", "importance"])
def test_replay_updates_the_original_prompt(tmp_path: Path, correction: str) -> None:
    words = ["rl.guided_replay.enabled=true", "rl.guided_replay.share=0.5", f"rl.guided_replay.correction={correction}"]
    trainer = lab.make(tmp_path, *words, judge=hopeless_first)
    batch = lab.window(trainer)
    replayed, mask = batch["replayed"], batch["completion_mask"].bool()
    assert replayed.view(4, 4).sum(1).tolist() == [2, 2, 0, 0]
    assert trainer._metrics["train"]["lore/replay_share"] == [0.25]
    prompts = [row[row != trainer._tokenizer.pad_token_id].tolist() for row in batch["prompt_ids"]]
    assert prompts == [list(trainer.train_dataset[index]["prompt"]) for index in range(4) for _ in range(4)]
    own = lab.rescored(trainer, batch)
    torch.testing.assert_close(
        own[~replayed][mask[~replayed]], batch["old_per_token_logps"][~replayed][mask[~replayed]], atol=1e-5, rtol=1e-4
    )
    row = int(replayed.nonzero()[0])
    hint = torch.tensor([[20 + int(batch["example"][row]), 30, 31, 32]])
    hinted = trainer.score_tokens(
        trainer.model, hint, torch.ones_like(hint), batch["completion_ids"][row : row + 1], batch["completion_mask"][row : row + 1]
    )[0]
    expected = hinted if correction == "importance" else own[row]
    torch.testing.assert_close(batch["old_per_token_logps"][row][mask[row]], expected[mask[row]], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(hinted[mask[row]], own[row][mask[row]], atol=1e-3)


def test_nothing_is_replayed_without_a_hint(tmp_path: Path) -> None:
    trainer = lab.make(tmp_path, "rl.guided_replay.enabled=true", judge=hopeless_first, hinted=lambda *_: None)
    assert not lab.window(trainer)["replayed"].any()


def test_a_replaying_run_takes_steps_with_every_other_idea_on(tmp_path: Path) -> None:
    words = [
        f"rl.{name}.enabled=true"
        for name in ("guided_replay", "dynamic_sampling", "stepwise", "clip_cov", "kl_cov", "sft_auxiliary", "watch")
    ]
    trainer = lab.make(tmp_path, *words, "rl.watch.probe_every=0", "rl.max_steps=4")
    trainer.train()
    assert trainer.state.global_step == 4


def test_hints_never_state_the_label() -> None:
    assert hint_lines(FACTS, "path") == ["hint path: category match, colour miss"]
    lines = hint_lines(FACTS, "all")
    assert len(lines) == 3
    assert not any(character.isdigit() for line in lines for character in line)


def numpy_advantages(rewards: np.ndarray, size: int) -> np.ndarray:
    result = np.zeros_like(rewards)
    for start in range(0, len(rewards), size):
        for step in range(rewards.shape[1]):
            values = rewards[start : start + size, step]
            there = ~np.isnan(values)
            if there.sum() > 1:
                result[start : start + size, step][there] = (values[there] - values[there].mean()) / (values[there].std(ddof=1) + 1e-4)
    return result


@pytest.mark.parametrize("seed", range(4))
def test_step_advantages_are_numpys(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rewards = generator.random((12, 5))
    rewards[generator.random((12, 5)) < 0.3] = np.nan
    np.testing.assert_allclose(step_advantages(torch.tensor(rewards), 4, scale=True).numpy(), numpy_advantages(rewards, 4), atol=1e-9)


def test_credit_moves_a_steps_tokens_alone() -> None:
    found = credit(torch.full((1, 5), 2.0), torch.tensor([[-1.0, 1.0]]), torch.tensor([[0, 0, 1, 2, -1]]), weight=0.25)
    assert found.tolist() == [[1.25, 1.25, 1.75, 2.0, 2.0]]


def test_stepwise_changes_exactly_the_gradients_of_the_steps(tmp_path: Path) -> None:
    """Tokens of step 0 are the first two; a reward of their own turns only their gradients."""

    def own(example: int, ids: Sequence[int]) -> list[float]:
        return [float(ids[0] % 3)]

    trainer = lab.make(
        tmp_path, "rl.stepwise.enabled=true", "rl.stepwise.weight=0.5", steps=lambda ids: [0, 0] + [-1] * (len(ids) - 2), step_rewards=own
    )
    batch = lab.window(trainer)
    inputs = lab.micro(batch, 0, 16)
    assert inputs["advantages"].shape == inputs["completion_ids"].shape
    whole = inputs["advantages"][:, 3]
    stepped, plain = lab.token_gradients(trainer, inputs), lab.token_gradients(trainer, inputs | {"advantages": whole})
    assert (stepped[:, 2:] == plain[:, 2:]).all()
    assert not torch.equal(stepped[:, :2], plain[:, :2])


def spans(layout: str = "reason_first") -> tuple[Spans, Any]:
    tokenizer = train_tokenizer([RIGHT, REASONING] * 3, 400)
    return Spans(tokenizer, response_format(layout, 4)), tokenizer


def test_spans_find_sections_verdicts_and_the_label() -> None:
    finder, tokenizer = spans()
    ids = tokenizer.encode(RIGHT, add_special_tokens=False)
    steps, kinds = finder.steps(ids), finder.deciding(ids)
    text = {step: tokenizer.decode([token for token, owner in zip(ids, steps, strict=True) if owner == step]) for step in {*steps}}
    lines = RIGHT.split("\n")
    assert [text[SECTIONS.index(name)].strip() for name in SECTIONS] == lines[:5]
    assert text[LABEL].strip() == "answer: 2"
    assert [tokenizer.decode([token]).strip() for token, kind in zip(ids, kinds, strict=True) if kind == 2] == ["2"]
    verdicts = [tokenizer.decode([token]).strip() for token, kind in zip(ids, kinds, strict=True) if kind == 1]
    assert verdicts == ["match", "miss"]


def test_spans_of_an_answer_first_completion() -> None:
    finder, tokenizer = spans("answer_first")
    ids = tokenizer.encode("3\n" + REASONING, add_special_tokens=False)
    assert finder.deciding(ids)[0] == 2
    assert finder.deciding(ids).count(2) == 1
    assert finder.steps(ids)[0] == LABEL


def test_step_rewards_follow_the_facts() -> None:
    layout = response_format("reason_first", 4)
    assert step_rewards(layout.parse(RIGHT, True), EXAMPLE) == [1, 1, 1, 1, 1]
    wrong = RIGHT.replace("colour miss", "colour match").replace("seen: colour blue\n", "")
    found = step_rewards(layout.parse(wrong, True), EXAMPLE)
    assert found[3] == 0.5
    assert np.isnan(found[2])
    assert step_rewards(layout.parse("", True), EXAMPLE) == [0] * 5

"""Each arm that TRL lacks: against independent numpy maths, and on exactly the intended tokens of a real (tiny) policy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lore_lab.rewards.judge import Outcome
from lore_lab.train import clip_cov, kl_cov, sft_auxiliary
from lore_lab.train.batches import flat_groups, replace_rows
from lore_lab.train.covariance import covariance

from . import lab


def random_batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    log_probs = -torch.rand(16, 12, generator=generator) * 5
    advantages = torch.randn(16, 12, generator=generator)
    lengths = torch.randint(1, 13, (16,), generator=generator)
    return log_probs, advantages, (torch.arange(12) < lengths[:, None]).long()


def numpy_covariance(log_probs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    inside = mask.numpy().astype(bool)
    p, a = log_probs.numpy().astype(np.float64), advantages.numpy().astype(np.float64)
    result = np.zeros_like(p)
    result[inside] = (a[inside] - a[inside].mean()) * (p[inside] - p[inside].mean())
    return result


@pytest.mark.parametrize("seed", range(5))
def test_covariance_is_numpys(seed: int) -> None:
    log_probs, advantages, mask = random_batch(seed)
    np.testing.assert_allclose(covariance(log_probs, advantages, mask), numpy_covariance(log_probs, advantages, mask), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_kl_cov_takes_the_tokens_of_highest_covariance(seed: int) -> None:
    log_probs, advantages, mask = random_batch(seed)
    values = numpy_covariance(log_probs, advantages, mask)
    count = max(1, int(0.1 * mask.sum()))
    threshold = np.sort(values[mask.numpy() == 1])[-count]
    chosen = kl_cov.choose(covariance(log_probs, advantages, mask), mask, 0.1).numpy()
    assert chosen.sum() == count
    assert (values[chosen] >= threshold - 1e-5).all()
    assert not chosen[mask.numpy() == 0].any()


@pytest.mark.parametrize("seed", range(5))
def test_clip_cov_draws_its_share_from_the_range_only(seed: int) -> None:
    log_probs, advantages, mask = random_batch(seed)
    values = numpy_covariance(log_probs, advantages, mask)
    config = SimpleNamespace(share=0.03, low=0.5, high=2.0)
    found = covariance(log_probs, advantages, mask)
    pick = [clip_cov.choose(found, mask, config, torch.Generator().manual_seed(number)).numpy() for number in (0, 0, 1)]
    eligible = (values > 0.5) & (values < 2.0) & (mask.numpy() == 1)
    assert all(chosen.sum() == min(eligible.sum(), max(1, int(0.03 * mask.sum()))) for chosen in pick)
    assert all(eligible[chosen].all() for chosen in pick)
    assert (pick[0] == pick[1]).all()


def test_clip_cov_without_tokens_in_range_drops_none() -> None:
    log_probs, advantages, mask = random_batch(0)
    config = SimpleNamespace(share=0.1, low=1e6, high=2e6)
    assert not clip_cov.choose(covariance(log_probs, advantages, mask), mask, config, torch.Generator()).any()


def test_clip_cov_silences_exactly_its_tokens(tmp_path: Path) -> None:
    trainer = lab.make(tmp_path, "rl/entropy=clip_cov", "rl.clip_cov.share=0.05", "rl.clip_cov.low=0.01", "rl.clip_cov.high=100")
    batch = lab.window(trainer)
    lab.drift(trainer)
    inputs = lab.micro(batch, 0, 16)
    chosen = inputs["clip_cov"]
    assert 0 < chosen.sum() < inputs["completion_mask"].sum() / 4
    plain = lab.token_gradients(trainer, inputs | {"clip_cov": torch.zeros_like(chosen)})
    clipped = lab.token_gradients(trainer, inputs)
    assert (plain[chosen] != 0).all()
    assert (clipped[chosen] == 0).all()
    torch.testing.assert_close(clipped[~chosen], plain[~chosen])


def test_clip_cov_chooses_over_the_generation_batch(tmp_path: Path) -> None:
    """With a share of one token a batch, the whole batch loses one token, not one a micro-batch."""
    trainer = lab.make(tmp_path, "rl/entropy=clip_cov", "rl.clip_cov.share=1e-6", "rl.clip_cov.low=0.001", "rl.clip_cov.high=100")
    assert lab.window(trainer)["clip_cov"].sum() == 1


def test_kl_cov_holds_exactly_its_tokens(tmp_path: Path) -> None:
    trainer = lab.make(tmp_path, "rl/entropy=kl_cov", "rl.kl_cov.share=0.1", "rl.kl_cov.coef=2")
    batch = lab.window(trainer)
    lab.drift(trainer)
    inputs = lab.micro(batch, 0, 8)
    chosen, mask = inputs["kl_cov"], inputs["completion_mask"]
    plain = lab.token_gradients(trainer, inputs | {"kl_cov": torch.zeros_like(chosen)})
    held = lab.token_gradients(trainer, inputs)
    tokens = float(batch["completion_mask"].sum()) / trainer.args.steps_per_generation
    direction = np.sign((lab.rescored(trainer, inputs) - inputs["old_per_token_logps"]).numpy())
    assert chosen.any()
    np.testing.assert_allclose((held - plain).numpy(), 2 * direction * chosen.numpy() * mask.numpy() / tokens, atol=1e-6)


def test_kl_cov_does_not_follow_the_sign_of_rounding(tmp_path: Path) -> None:
    """Before the first update the sampler's log-probs are the policy's but for rounding."""
    trainer = lab.make(tmp_path, "rl/entropy=kl_cov", "rl.kl_cov.share=0.1", "rl.kl_cov.coef=2")
    inputs = lab.micro(lab.window(trainer), 0, 8)
    assert inputs["kl_cov"].any()
    noise = 5e-6 * torch.randn(inputs["old_per_token_logps"].shape, generator=torch.Generator().manual_seed(0))
    inputs["old_per_token_logps"] = inputs["old_per_token_logps"] + noise
    plain = lab.token_gradients(trainer, inputs | {"kl_cov": torch.zeros_like(inputs["kl_cov"])})
    torch.testing.assert_close(lab.token_gradients(trainer, inputs), plain)


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"])
def test_token_weights_are_those_of_trl(tmp_path: Path, loss_type: str) -> None:
    """At ratio 1 TRL's gradient a token is -A x weight, whatever the aggregation."""
    trainer = lab.make(tmp_path, f"rl.loss_type={loss_type}", "rl.clip_high=5")
    inputs = lab.micro(lab.window(trainer), 0, 8)
    expected = -inputs["advantages"][:, None] * trainer.token_weights(inputs)
    torch.testing.assert_close(lab.token_gradients(trainer, inputs), expected, atol=1e-5, rtol=1e-3)


def test_sft_auxiliary_adds_the_weighted_cross_entropy(tmp_path: Path) -> None:
    trainer = lab.make(tmp_path, "rl/entropy=sft_aux", "rl.sft_auxiliary.weight=0.3")
    inputs = lab.micro(lab.window(trainer), 0, 8)
    idea = trainer.ideas.pop()
    without = trainer._compute_loss(trainer.model, inputs).item()
    trainer.ideas.append(idea)
    added = trainer._compute_loss(trainer.model, inputs).item() - without
    prompt, target = idea.targets[0]
    logits = trainer.model(input_ids=torch.tensor([prompt + target])).logits[0].detach().double().numpy()
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.mean([log_softmax[len(prompt) - 1 + place, token] for place, token in enumerate(target)])
    assert added == pytest.approx(0.3 * expected, rel=1e-4)


def test_the_cross_entropy_of_targets_behind_prompts_of_any_length_is_numpys(tmp_path: Path) -> None:
    model = lab.make(tmp_path).model
    targets = [([5, 6, 7], [8, 9]), ([5, 6, 7, 8, 9, 10], [3, 4, 1]), ([11], [12, 13, 14, 15])]
    found = sft_auxiliary.cross_entropy(model, sft_auxiliary.collate(targets, 0, "cpu")).item()
    losses = []
    for prompt, target in targets:
        logits = model(input_ids=torch.tensor([prompt + target])).logits[0].detach().double().numpy()
        log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses += [-log_softmax[len(prompt) - 1 + place, token] for place, token in enumerate(target)]
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_sft_schedules() -> None:
    config = SimpleNamespace(final=0.2, rate=0.5, tolerance=0.1, bounds=[0.5, 2.0])
    assert [sft_auxiliary.decaying(config, progress) for progress in (0, 0.5, 1, 2)] == pytest.approx([1, 0.6, 0.2, 0.2])
    assert sft_auxiliary.adaptive(config, 1.0, 1.2) == 1.5
    assert sft_auxiliary.adaptive(config, 1.5, 1.2) == 2.0
    assert sft_auxiliary.adaptive(config, 0.6, 1.0) == 0.5


def test_dynamic_sampling_refills_groups_without_difference(tmp_path: Path) -> None:
    """The judge makes examples 0 and 1 hopeless; their groups give way, and the columns stay consistent."""

    def judge(indices: list[int], completions: list[list[int]]) -> list[Outcome]:
        right = [index > 1 and place % 2 == 0 for place, index in enumerate(indices)]
        return [Outcome(float(value), value, True, 0) for value in right]

    trainer = lab.make(tmp_path, "rl.dynamic_sampling.enabled=true", "rl.dynamic_sampling.attempts=8", judge=judge)
    batch = lab.window(trainer)
    assert not flat_groups(batch["reward"], 4)
    assert (batch["example"].view(-1, 4) > 1).all()
    assert batch["example"].view(-1, 4)[2:].tolist() == [[2] * 4, [3] * 4]
    assert batch["num_items_in_batch"] == batch["completion_mask"].sum()
    mask = batch["completion_mask"].bool()
    torch.testing.assert_close(lab.rescored(trainer, batch)[mask], batch["old_per_token_logps"][mask], atol=1e-5, rtol=1e-4)
    notes = {name: values[-1] for name, values in trainer._metrics["train"].items() if "dynamic" in name}
    assert notes["lore/dynamic/flat"] == 0.5
    assert notes["lore/dynamic/left"] == 0
    assert notes["lore/dynamic/refilled"] == 0.5


def test_dynamic_sampling_stops_at_its_cap(tmp_path: Path) -> None:
    rounds = []

    def judge(indices: list[int], completions: list[list[int]]) -> list[Outcome]:
        rounds.append(len(indices))
        return [Outcome(0.0, False, True, 0) for _ in indices]

    trainer = lab.make(tmp_path, "rl.dynamic_sampling.enabled=true", "rl.dynamic_sampling.attempts=2", judge=judge)
    lab.window(trainer)
    assert rounds == [16, 16, 16]
    assert trainer._metrics["train"]["lore/dynamic/left"] == [1.0]


def test_replaced_rows_keep_their_padding_side() -> None:
    def part(prompt: int, completion: int, value: int, rows: int) -> dict[str, torch.Tensor]:
        return {
            "prompt_ids": torch.full((rows, prompt), value), "prompt_mask": torch.ones(rows, prompt, dtype=torch.long),
            "completion_ids": torch.full((rows, completion), value), "completion_mask": torch.ones(rows, completion, dtype=torch.long),
            "advantages": torch.full((rows,), float(value)), "num_items_in_batch": torch.tensor(0),
        }  # fmt: skip

    mixed = replace_rows(part(2, 3, 5, 2), [1], part(3, 2, 7, 1), pad_id=0)
    assert mixed["prompt_ids"].tolist() == [[0, 5, 5], [7, 7, 7]]
    assert mixed["completion_ids"].tolist() == [[5, 5, 5], [7, 7, 0]]
    assert mixed["advantages"].tolist() == [5.0, 7.0]
    assert mixed["num_items_in_batch"] == 5

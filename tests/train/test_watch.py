"""What is watched, against independent numpy maths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lore_lab.data.registry import load_source
from lore_lab.rewards.judge import Outcome
from lore_lab.stages.functions.material import probe_pairs
from lore_lab.stages.graph import plain

from . import lab

WATCHED = ("rl.watch.enabled=true", "rl.watch.probe_every=2")


def log_softmax(model: Any, ids: list[int]) -> np.ndarray:
    """(T, V) log-probs of the next token after each of `ids`."""
    logits = model(input_ids=torch.tensor([ids])).logits[0].detach().double().numpy()
    logits = logits - logits.max(-1, keepdims=True)
    result: np.ndarray = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return result


def mean_log_prob(model: Any, prompt: list[int], completion: list[int]) -> float:
    rows = log_softmax(model, prompt + completion)[len(prompt) - 1 :]
    return float(np.mean([rows[place, token] for place, token in enumerate(completion)]))


def test_kl_of_the_probe_is_numpys(tmp_path: Path) -> None:
    trainer = lab.make(tmp_path, *WATCHED, "rl.watch.probe_size=3", "rl.watch.probe_samples=4", "rl.temperature=1")
    probe, model = trainer.ideas[0].probe, trainer.model
    prompts = [prompt for prompt in probe.set.prompts for _ in range(4)]
    reference = probe.reference
    before = [mean_log_prob(model, *row) for row in zip(prompts, reference, strict=True)]
    with torch.no_grad():
        started = [parameter.clone() for parameter in model.parameters()]
        lab.drift(trainer)
        sampled = probe._generate(prompts, probe.sampling)  # the probe's own generator: measure() draws the same ones
        found = probe.measure()
        now = [mean_log_prob(model, *row) for row in zip(prompts, sampled, strict=True)]
        after = [mean_log_prob(model, *row) for row in zip(prompts, reference, strict=True)]
        for parameter, start in zip(model.parameters(), started, strict=True):
            parameter.copy_(start)
        once = [mean_log_prob(model, *row) for row in zip(prompts, sampled, strict=True)]
    assert found["kl_reverse"] == pytest.approx(np.mean(now) - np.mean(once), rel=1e-3, abs=1e-5)
    assert found["kl_forward"] == pytest.approx(np.mean(before) - np.mean(after), rel=1e-3, abs=1e-5)
    assert abs(found["kl_reverse"] - found["kl_forward"]) > 1e-3


def test_kl_of_one_token_nears_the_exact_divergence(tmp_path: Path) -> None:
    """With one token a completion both divergences are sums over the vocabulary."""
    size = 2048
    trainer = lab.make(
        tmp_path, *WATCHED, "rl.watch.probe_size=1", f"rl.watch.probe_samples={size}", "rl.max_completion_length=1", "rl.temperature=1"
    )
    probe, prompt = trainer.ideas[0].probe, trainer.ideas[0].probe.set.prompts[0]
    q = log_softmax(trainer.model, prompt)[-1]
    for _ in range(3):
        lab.drift(trainer)
    p = log_softmax(trainer.model, prompt)[-1]
    found = probe.measure()
    for name, of, to in (("kl_reverse", p, q), ("kl_forward", q, p)):
        exact = float((np.exp(of) * (of - to)).sum())
        error = float(np.sqrt((np.exp(of) * (of - to - exact) ** 2).sum() / size))
        assert found[name] == pytest.approx(exact, abs=4 * error)
        assert exact > 8 * error  # neither 0 nor the sign can be mistaken


def test_accuracy_of_groups_is_the_greedy_one(tmp_path: Path) -> None:
    trainer = lab.make(
        tmp_path, *WATCHED, "rl.watch.probe_size=4", probe=lambda count: lab.ProbeSet(
            [[10 + place, 11] for place in range(count)], [1, 0, 1, 0], lambda ids: 1, {"tail": [0, 2], "rule": [0, 1, 3]}
        )
    )  # fmt: skip
    found = trainer.ideas[0].probe.measure()
    assert (found["accuracy"], found["accuracy_tail"]) == (0.5, 1.0)
    assert found["accuracy_rule"] == pytest.approx(1 / 3)


def test_the_probe_of_the_world_holds_tail_and_rule_pairs() -> None:
    source = load_source(plain(lab.config())["data"])
    pairs, groups = probe_pairs(source, 32)
    assert len({pair.id for pair in pairs}) == 32
    assert all(pair.id.startswith("validation-") for pair in pairs)
    assert [pair.frequency == "tail" for pair in pairs] == [place in groups["tail"] for place in range(32)]
    assert [pair.capability == "rule" for pair in pairs] == [place in groups["rule"] for place in range(32)]
    assert {len(groups["tail"]), len(groups["rule"]), len({*groups["tail"]} & {*groups["rule"]})} == {16, 8}
    assert probe_pairs(source, 32) == (pairs, groups)


def test_a_source_without_such_pairs_gives_its_first_ones() -> None:
    class Plain:
        """No tail queries, no rules, few pairs."""

        def __init__(self, size: int) -> None:
            pairs = load_source(plain(lab.config())["data"]).examples("validation", 0, 200)
            self.rows = [pair for pair in pairs if pair.frequency != "tail" and pair.capability != "rule"][:size]

        def size(self, split: str) -> int:
            return len(self.rows)

        def examples(self, split: str, start: int, stop: int) -> Any:
            return iter(self.rows[start:stop])

    source: Any = Plain(20)
    assert probe_pairs(source, 8) == (source.rows[:8], {})
    assert probe_pairs(source, 32) == (source.rows, {})
    empty: Any = Plain(0)
    assert probe_pairs(empty, 8) == ([], {})


def test_ratio_watches_are_numpys(tmp_path: Path) -> None:
    trainer = lab.make(tmp_path, *WATCHED[:1], "rl.watch.probe_every=0", "rl/entropy=dual_clip", "rl.delta=1.3")
    inputs = lab.micro(lab.window(trainer), 0, 16)
    for _ in range(3):
        lab.drift(trainer)
    trainer._metrics["train"].clear()
    trainer._compute_loss(trainer.model, inputs)
    inside = inputs["completion_mask"].numpy().astype(bool)
    ratio = np.exp(lab.rescored(trainer, inputs).double().numpy() - inputs["old_per_token_logps"].double().numpy())
    advantages = np.broadcast_to(inputs["advantages"].numpy()[:, None], ratio.shape)
    beyond = ((advantages > 0) & (ratio > 1.2) | (advantages < 0) & (ratio < 0.8))[inside].mean()
    dual = ((advantages < 0) & (ratio > 1.3))[inside].mean()
    noted = {name.removeprefix("lore/"): values[-1] for name, values in trainer._metrics["train"].items()}
    assert noted["ratio_beyond"] == pytest.approx(beyond, abs=1e-6)
    assert noted["dual_clip"] == pytest.approx(dual, abs=1e-6)
    assert 0 < dual < 1
    assert 0 < beyond < 1


def test_share_of_completions_with_a_length_term(tmp_path: Path) -> None:
    def judge(indices: Any, completions: Any) -> list[Outcome]:
        return [Outcome(1.0, True, True, 0, -0.5 if place % 4 == 0 else 0.0) for place, _ in enumerate(indices)]

    trainer = lab.make(tmp_path, *WATCHED[:1], "rl.watch.probe_every=0", judge=judge)
    lab.window(trainer)
    assert trainer._metrics["train"]["lore/length_term"] == [0.25]


def test_top_entropy_masks_the_share_it_says(tmp_path: Path) -> None:
    def judge(indices: Any, completions: Any) -> list[Outcome]:
        return [Outcome(float(place % 2), place % 2 == 1, True, 0) for place, _ in enumerate(indices)]

    trainer = lab.make(tmp_path, "rl/entropy=top_entropy", judge=judge)
    inputs = lab.micro(lab.window(trainer), 0, 16)
    silent = (lab.token_gradients(trainer, inputs) == 0)[inputs["completion_mask"].bool()]
    masked = trainer._metrics["train"]["lore/top_entropy/masked"][-1]
    assert masked == pytest.approx(silent.float().mean().item())
    assert masked == pytest.approx(0.8, abs=0.05)

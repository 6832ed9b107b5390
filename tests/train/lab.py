"""A trainer of the lab on a tiny random model: seconds, no data, a judge that only looks at tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from transformers import set_seed

from lore_lab.config.overrides import CONF
from lore_lab.config.schema import Config, register
from lore_lab.config.validate import typed
from lore_lab.rewards.judge import Outcome
from lore_lab.rollout.engine import TransformersEngine
from lore_lab.train.base import make_model, train_tokenizer
from lore_lab.train.grpo import make_trainer
from lore_lab.train.idea import Idea, Material, ProbeSet

TINY = (
    "model.hidden_size=16", "model.intermediate_size=16", "model.num_hidden_layers=1", "model.num_attention_heads=2",
    "model.num_key_value_heads=1", "model.head_dim=null", "model.vocab_size=300", "compute.device=cpu", "compute.precision=fp32", "compute.threads=1", "compute.length_buckets=1", "compute.prompts_once=false", "compute.sampler_log_probs=false",
    "rl.num_generations=4", "rl.per_device_train_batch_size=8", "rl.gradient_accumulation_steps=1", "rl.steps_per_generation=2",
    "rl.num_iterations=2", "rl.max_completion_length=6", "rl.max_steps=4", "rl.save_windows=0", "rl.learning_rate=0.01", "rl.watch.enabled=false",
)  # fmt: skip
EXAMPLES = 12


def config(*overrides: str) -> Config:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(compose("config", overrides=[*TINY, *overrides]))


def parity(indices: Sequence[int], completions: Sequence[list[int]]) -> list[Outcome]:
    """Right when the sum of the tokens is even."""
    return [Outcome(float(sum(ids) % 2 == 0), sum(ids) % 2 == 0, True, 0) for ids in completions]


def make(
    folder: Path,
    *overrides: str,
    judge: Any = parity,
    sampler: Any = None,
    callbacks: Sequence[Any] = (),
    engine: Any = None,
    **material: Any,
) -> Any:
    """A LabTrainer under the default config with `overrides`. material: what the ideas may ask for. engine: (model, end token) -> Engine."""
    settings = config(*overrides)
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(["red dress match miss needs path answer: 1 2 3 4\n"] * 4, settings.model.vocab_size)
    set_seed(7)
    model = make_model(settings.model, tokenizer)
    model.save_pretrained(folder / "policy")
    model.config._name_or_path = str(folder / "policy")
    end = tokenizer.eos_token_id
    engine = engine(model, end) if engine else TransformersEngine(model, tokenizer.pad_token_id, (end,))
    given: dict[str, Any] = {
        "targets": lambda: [([5, 6, 7], [8, 9, tokenizer.eos_token_id])] * 3,
        "hinted": lambda example, what, placement: [20 + example, 30, 31, 32],
        "steps": lambda ids: [0] * len(ids),
        "step_rewards": lambda example, ids: [float(len(ids))],
        "deciding": lambda ids: [2] + [0] * (len(ids) - 1),
        "probe": lambda count: ProbeSet([[10, 11]] * count, [0] * count, lambda ids: ids[0] % 2, {"tail": [0], "rule": [count - 1]}),
    }
    bench = Material(seed=3, config=settings.rl, tokenizer=tokenizer, engine=engine, **(given | material))
    prompts = [[20 + number, 40, 41][: 2 + number % 2] for number in range(EXAMPLES)]
    return make_trainer(
        settings.rl,
        settings.seed,
        settings.compute,
        model,
        tokenizer,
        prompts,
        list(range(EXAMPLES)),
        judge,
        bench,
        folder,
        callbacks,
        sampler,
    )


class Tap(Idea):
    """First in line: keeps the log-probs as TRL computed them, so that their gradient can be read."""

    def log_probs(self, inputs: Any, log_probs: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
        self.seen = log_probs
        self.seen.retain_grad()
        return log_probs


def window(trainer: Any) -> dict[str, Any]:
    """One generation batch of four groups, neither shuffled nor split."""
    trainer.model.train()
    rows = [dict(trainer.train_dataset[index]) for index in range(4) for _ in range(trainer.num_generations)]
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    return trainer._generate_and_score_completions(rows)


def micro(batch: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    return {name: value[start:stop] if value.dim() else value for name, value in batch.items()}


def token_gradients(trainer: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """d loss / d log-prob of every token, as the trainer's own loss has it."""
    tap = Tap()
    tap.attach(trainer)
    trainer.ideas.insert(0, tap)
    try:
        trainer._compute_loss(trainer.model, inputs).backward()
    finally:
        trainer.ideas.remove(tap)
        trainer.model.zero_grad()
    assert tap.seen.grad is not None
    return tap.seen.grad.clone()


def rescored(trainer: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Log-probs of a batch's completions under the present weights."""
    return trainer.score_tokens(
        trainer.model, *(batch[name] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask"))
    )


def drift(trainer: Any) -> None:
    """Move the policy a little away from the rollout policy, as an update would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)

"""Group-relative policy optimisation: TRL's GRPOTrainer, fed with our prompts, our engine and our rewards through its own hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig

from lore_lab.rewards.judge import Outcome
from lore_lab.rollout.engine import Sampling
from lore_lab.train.common import Log, Recorder, Report, common_arguments, optimizer_arguments, run_trainer, stage_seed
from lore_lab.train.idea import Material, build_ideas
from lore_lab.train.trainer import LabTrainer

if TYPE_CHECKING:
    from pathlib import Path

    from lore_lab.config.training import RlConfig

#: (indices of the examples, completion token ids) -> what became of each completion
Judging = Callable[[Sequence[int], Sequence[list[int]]], list[Outcome]]


def updates_per_window(config: RlConfig) -> int:
    """Optimizer steps one generation batch is used for. 1 means the ratio is 1 and clipping cannot act."""
    return max(1, config.steps_per_generation * config.num_iterations // config.gradient_accumulation_steps)


def prompts_per_window(config: RlConfig, processes: int) -> int:
    """Of all processes together."""
    return config.per_device_train_batch_size * config.steps_per_generation * processes // config.num_generations


def prompts_needed(config: RlConfig, processes: int) -> int:
    """Prompts a whole run visits."""
    windows = -(-config.max_steps * config.gradient_accumulation_steps // (config.steps_per_generation * config.num_iterations))
    return windows * prompts_per_window(config, processes)


def grpo_arguments(config: RlConfig, seed: int, compute: Any, work: Path, engine: Mapping[str, Any]) -> GRPOConfig:
    """Every loss-affecting field of TRL's config, explicitly: its defaults drift between versions. engine: what it is told of the engine."""
    save_steps = config.save_windows * updates_per_window(config)
    return GRPOConfig(
        **common_arguments(work / "checkpoints", seed, compute, save_steps),
        **optimizer_arguments(config),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        steps_per_generation=config.steps_per_generation,
        num_iterations=config.num_iterations,
        num_generations=config.num_generations,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        min_p=None,
        repetition_penalty=1.0,
        epsilon=config.clip_low,
        epsilon_high=config.clip_high,
        delta=config.delta,
        beta=config.beta,
        loss_type=config.loss_type,
        importance_sampling_level=config.importance_sampling_level,
        scale_rewards=config.scale_rewards,
        top_entropy_quantile=config.top_entropy_quantile,
        entropy_coef=config.entropy_coef,
        use_adaptive_entropy=config.adaptive_entropy,
        entropy_target=config.entropy_target,
        entropy_coef_min=config.entropy_coef_min,
        entropy_coef_max=config.entropy_coef_max,
        entropy_coef_delta=config.entropy_coef_delta,
        sapo_temperature_pos=config.sapo_temperature_pos,
        sapo_temperature_neg=config.sapo_temperature_neg,
        mask_truncated_completions=config.mask_truncated_completions,
        off_policy_mask_threshold=None,
        use_bias_correction_kl=False,
        multi_objective_aggregation="sum_then_normalize",
        disable_dropout=True,
        shuffle_dataset=False,  # the curriculum decided the order
        remove_unused_columns=False,
        log_completions=False,
        **engine,
    )


def repeats_per_window(config: RlConfig) -> int:
    """Micro-batches one generation batch is asked for: TRL's sampler repeats its prompts so often."""
    return config.steps_per_generation * config.num_iterations


def updates_differ(config: RlConfig) -> bool:
    """Whether the policy moves between a rollout and its updates, so that TRL wants the log-probs it was sampled with."""
    return config.gradient_accumulation_steps % repeats_per_window(config) != 0


def make_trainer(
    config: RlConfig,
    seed: int,
    compute: Any,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    examples: Sequence[int],
    judge: Judging,
    material: Material,
    work: Path,
    callbacks: Sequence[Any] = (),
    sampler: Any = None,
) -> LabTrainer:
    """prompts: token ids in visiting order, unless `sampler` orders them; examples: what `judge` knows each of them by."""
    sampling = Sampling(config.temperature, config.max_completion_length, config.top_p, config.top_k)
    apart = material.engine.bound is not None
    # Under autocast the update's log-probs are not the sampler's, and with one update a rollout TRL asks for none.
    reuse = compute.sampler_log_probs and compute.precision == "fp32" and updates_differ(config)

    def rollout(batch: Any, trainer: LabTrainer) -> dict[str, Any]:
        forced, trainer.forced = trainer.forced, None
        engines: Any = None
        if forced is not None:  # what the engine would have given them nobody knows: TRL takes None for a ratio of 1
            completions = forced
            engines = [[None] * len(ids) for ids in forced] if apart else None
        elif apart:
            completions, engines = material.engine.sample(batch, sampling)
        elif reuse:
            completions, trainer.drawn = material.engine.sample(batch, sampling)
        else:
            completions = material.engine.generate(batch, sampling)
        return {"prompt_ids": batch, "completion_ids": completions, "logprobs": engines}

    def label_reward(completion_ids: list[list[int]], example: list[int], **_: Any) -> list[float]:
        trainer.outcomes = judge(example, completion_ids)
        return [outcome.reward for outcome in trainer.outcomes]

    trainer = LabTrainer(
        model=model,
        reward_funcs=[label_reward],
        args=grpo_arguments(config, stage_seed(seed, "rl"), compute, work, material.engine.arguments),
        train_dataset=Dataset.from_dict({"prompt": list(prompts), "example": list(examples)}),
        processing_class=tokenizer,
        rollout_func=rollout,
        callbacks=list(callbacks),
        ideas=build_ideas(material),
        sampler=sampler,
        compute=compute,
        engine=material.engine,
    )
    return trainer


def train_grpo(
    config: RlConfig, seed: int, compute: Any, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]], examples: Sequence[int], judge: Judging, material: Material,
    work: Path, log: Log, report: Report, sampler: Any = None,
) -> list[int]:  # fmt: skip
    """Train `model` in place; returns the examples in the order they were visited.

    Continues from a checkpoint in `work`; checkpoints lie on generation windows, because TRL generates anew after a restart.
    """
    recorder = Recorder(log, report, "reward")
    trainer = make_trainer(
        config, seed, compute, model, tokenizer, prompts, examples, judge, material, work, [recorder], sampler
    )  # fmt: skip
    run_trainer(trainer, work)
    return trainer.realised

"""Direct preference optimisation (Rafailov et al. 2305.18290): TRL's DPOTrainer on tokens we rendered ourselves.

L = mean over pairs of -log sigmoid(beta (log p(c) - log q(c) - log p(r) + log q(r)))  +  sft_weight x mean over tokens of -log p(c)

c chosen, r rejected, q the policy it starts from (its log-probs are computed once, before the first step). The other losses differ in the
first term: hinge max(0, 1 - beta d), ipo (d' - 1 / (2 beta))^2 with d' of means per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DPOConfig as TrlDpoConfig
from trl import DPOTrainer

from lore_lab.train.common import Log, Recorder, Report, common_arguments, optimizer_arguments, run_trainer, stage_seed

if TYPE_CHECKING:
    from pathlib import Path

    from lore_lab.config.training import DpoConfig


class Preference(NamedTuple):
    """Token ids of a prompt, the completion wanted after it and the one unwanted."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class TokenDpo(DPOTrainer):
    """DPOTrainer on rows that are token ids already: columns prompt_ids, chosen_ids, rejected_ids."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def dpo_arguments(config: DpoConfig, seed: int, compute: Any, work: Path) -> TrlDpoConfig:
    """Every loss-affecting field of TRL's config, explicitly: its defaults drift between versions."""
    supervised = config.sft_weight > 0
    return TrlDpoConfig(
        **common_arguments(work / "checkpoints", seed, compute, config.save_steps),
        **optimizer_arguments(config),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        beta=config.beta,
        loss_type=[config.loss_type, *(["sft"] if supervised else [])],
        loss_weights=[1.0, *([config.sft_weight] if supervised else [])],
        label_smoothing=0.0,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        use_weighting=False,
        sync_ref_model=False,
        precompute_ref_log_probs=True,
        disable_dropout=True,
        max_length=None,
        padding_free=False,
    )


def make_trainer(
    config: DpoConfig,
    seed: int,
    compute: Any,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Preference],
    work: Path,
    callbacks: Sequence[Any] = (),
) -> TokenDpo:
    """The reference is `model` as it is now."""
    return TokenDpo(
        model=model,
        args=dpo_arguments(config, stage_seed(seed, "dpo"), compute, work),
        train_dataset=Dataset.from_list([pair._asdict() for pair in pairs]),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )


def train_dpo(
    config: DpoConfig,
    seed: int,
    compute: Any,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Preference],
    work: Path,
    log: Log,
    report: Report,
) -> None:
    """Train `model` in place. Continues from a checkpoint in `work`."""
    recorder = Recorder(log, report, "rewards/margins")
    run_trainer(make_trainer(config, seed, compute, model, tokenizer, pairs, work, [recorder]), work)

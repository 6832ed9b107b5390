"""The embedded base model: a byte-level BPE tokenizer and a small causal LM made from its config, pretrained on unlabelled texts.

Stands in for a downloaded checkpoint, so it has its own seed: run seeds share it, as they would share Qwen's weights. Everything here is
`assumed`; no paper describes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast, set_seed
from trl import SFTConfig as TrlSftConfig
from trl import SFTTrainer

from lore_lab.train.common import Log, Recorder, Report, common_arguments, run_trainer

if TYPE_CHECKING:
    from pathlib import Path

    from lore_lab.config.model import ModelConfig

_LEXICON_WEIGHT = 200
PAD, END = "<|pad|>", "<|end|>"
# A line's head with its colon, words and single digits (a label is one token) with their leading space, runs of other characters.
_SPLIT = r"\n?\p{L}+:| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\n|\s+"


def train_tokenizer(texts: Iterable[str], vocab_size: int, lexicon: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every string has an encoding, and decoding it gives the string back. lexicon: lines seen as often as common words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[PAD, END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*texts, *list(lexicon) * _LEXICON_WEIGHT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, padding_side="left", clean_up_tokenization_spaces=False
    )


def make_model(config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A randomly initialised model of `config.architecture`; the caller seeds torch."""
    names = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "max_position_embeddings", "initializer_range",
    )  # fmt: skip
    model_config = AutoConfig.for_model(
        str(config.architecture),
        vocab_size=len(tokenizer),
        tie_word_embeddings=config.tie_word_embeddings,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        **{name: getattr(config, name) for name in names if getattr(config, name) is not None},
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(model_config, dtype=torch.float32, attn_implementation=config.attention)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model


def blocks(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], block_size: int) -> list[list[int]]:
    """Texts one after another, an end token behind each, cut into blocks; the rest that fills no block is left out."""
    stream: list[int] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += [*ids, tokenizer.eos_token_id]
    return [stream[start : start + block_size] for start in range(0, len(stream) - block_size + 1, block_size)]


def pretrain(
    config: ModelConfig,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    compute: Any,
    work: Path,
    log: Log,
    report: Report,
) -> tuple[Any, dict[str, float]]:
    """(model, metrics) after `config.pretrain.max_steps` steps of language modelling on `texts`. seed: of weights and order."""
    set_seed(seed)
    model = make_model(config, tokenizer)
    settings = config.pretrain
    metrics = {"parameters": float(sum(p.numel() for p in model.parameters())), "vocabulary": float(len(tokenizer))}
    if settings.max_steps == 0:
        return model, metrics
    rows = blocks(tokenizer, texts, settings.block_size)
    arguments = TrlSftConfig(
        **common_arguments(work / "checkpoints", seed, compute, save_steps=0),
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        gradient_accumulation_steps=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup_steps,
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=settings.adam_beta2,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        optim="adamw_torch",
        max_length=None,
        packing=False,
        completion_only_loss=False,
        loss_type="nll",
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"input_ids": rows}),
        processing_class=tokenizer,
        callbacks=[Recorder(log, report, "loss")],
    )
    run_trainer(trainer, work)
    return model, metrics | {"tokens": float(settings.max_steps * settings.per_device_train_batch_size * settings.block_size)}

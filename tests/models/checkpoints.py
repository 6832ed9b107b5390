"""Small random checkpoints as the hub has them: config, safetensors (in shards), tokenizer with its special tokens, chat template, sampling defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast, set_seed

# The published templates without their parts for tools and longer conversations.
_QWEN25 = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role == 'user' %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_QWEN3 = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
_LLAMA31 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: ' + date_string + '\\n\\n<|eot_id|>' }}"
    "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|\s?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEXTS = ["query: red summer dress\ntitle: blue summer dress, size 42\njudge:\nneeds: colour = red\npath: colour miss\nanswer: 2\n"] * 8

#: architecture -> special tokens, added ones, what AutoTokenizer is told, end tokens (the tokenizer's first), template
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "added": [], "class": "Qwen2Tokenizer", "ends": ["<|im_end|>", "<|endoftext|>"],
        "pad": "<|endoftext|>", "template": _QWEN25,
    },
    "qwen3": {
        "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "added": ["<think>", "</think>"], "class": "Qwen2Tokenizer",
        "ends": ["<|im_end|>", "<|endoftext|>"], "pad": "<|endoftext|>", "template": _QWEN3,
    },
    "llama": {
        "special": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "added": [],
        "class": "PreTrainedTokenizerFast", "ends": ["<|eot_id|>", "<|end_of_text|>"], "pad": None, "template": _LLAMA31,
    },
}  # fmt: skip


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    own = FAMILIES[family]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(_TEXTS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens(own["special"])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in own["added"]])
    first = {"bos_token": own["special"][0]} if family == "llama" else {}
    pad = {"pad_token": own["pad"]} if own["pad"] else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=own["ends"][0], chat_template=own["template"], clean_up_tokenization_spaces=False, **first, **pad
    )  # fmt: skip


def make_checkpoint(folder: Path, family: str, shard: str = "40KB", dtype: torch.dtype = torch.float32, **sizes: int) -> Path:
    """A directory as `huggingface-cli download` leaves it. sizes: fields of the model's config."""
    own = FAMILIES[family]
    tokenizer = make_tokenizer(family)
    values: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 1024, "initializer_range": 0.1,
    }  # fmt: skip
    values |= {"head_dim": 16} if family == "qwen3" else {}
    ends = [tokenizer.convert_tokens_to_ids(token) for token in own["ends"]]
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer) + 9, tie_word_embeddings=family != "llama", bos_token_id=None, eos_token_id=ends[0],
        pad_token_id=tokenizer.pad_token_id, **(values | sizes),
    )  # fmt: skip  # like Qwen's, the table has rows that no token uses
    set_seed(11)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05, eos_token_id=ends
    )
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"tokenizer_class": own["class"]}))
    return folder

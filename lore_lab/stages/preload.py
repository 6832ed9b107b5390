"""Imported once by the fork server: what nearly every stage needs. Must start no thread and touch no device."""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import pandas
import torch
import transformers
import trl
import trl.trainer.dpo_trainer
import trl.trainer.grpo_trainer
import trl.trainer.sft_trainer

__all__ = ["pandas", "torch", "transformers", "trl"]

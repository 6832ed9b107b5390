"""Imported once by the fork server: what nearly every stage needs. Must start no thread and touch no device."""

import os
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import accelerate.data_loader
import pandas
import torch
import transformers
import trl
import trl.trainer.dpo_trainer
import trl.trainer.grpo_trainer
import trl.trainer.sft_trainer
from accelerate.utils import send_to_device

__all__ = ["pandas", "torch", "transformers", "trl"]


def _sent(batch: Any, device: Any, **options: Any) -> Any:
    """accelerate's `send_to_device`, which asks every token of every prompt whether it is a tensor to move: on a processor all of them are there."""
    return batch if torch.device(device).type == "cpu" else send_to_device(batch, device, **options)


accelerate.data_loader.send_to_device = _sent

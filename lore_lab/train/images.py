"""Batches with images: TRL's collator for token ids, plus each row's image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from lore_lab.prompts.images import pixels


@dataclass
class ImageCollator(DataCollatorForLanguageModeling):
    """Adds pixel_values (rows, 3, side, side). images: what column `picture` of the dataset numbers. TRL's own collator for images
    wants texts and a processor; ours are token ids and arrays."""

    images: Sequence[np.ndarray] = ()

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        batch["pixel_values"] = torch.from_numpy(pixels([self.images[example["picture"]] for example in examples]))
        return batch

"""Distillation of label probabilities beside the label itself (Hinton et al. 1503.02531, at temperature 1; that AFRL does so is assumed).

    L = L_sft - w mean_i sum_k p_i(k) log q_i(k)

p: the teacher's probabilities of the labels. q: the student's, over its whole vocabulary, at the first token of the completion, so that the term
also moves mass from other tokens to the labels. The term costs a forward pass of its own, for TRL's fused head builds no logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from lore_lab.train.buckets import BucketedSft

COLUMN = "teacher"  #: of the dataset: probabilities by label


class SoftLabelCollator(DataCollatorForLanguageModeling):
    """TRL's batches, with the teacher's probabilities, (B, grades)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        return super().torch_call(examples) | {COLUMN: torch.tensor([example[COLUMN] for example in examples])}


class SoftLabels(BucketedSft):
    """label_ids: the token of each label. weight: of the soft term."""

    def __init__(self, *, label_ids: Sequence[int], weight: float, args: Any, processing_class: Any, **rest: Any) -> None:
        args.remove_unused_columns = False
        collator = SoftLabelCollator(processing_class.pad_token_id)
        super().__init__(args=args, processing_class=processing_class, data_collator=collator, **rest)
        self.label_ids, self.weight = list(label_ids), weight

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        teacher = inputs.pop(COLUMN)
        soft = soft_cross_entropy(model, inputs, teacher, self.label_ids)
        self._metrics["train"]["soft_loss"].append(soft.item())
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return loss + self.weight * soft / self.current_gradient_accumulation_steps


def soft_cross_entropy(model: Any, inputs: Any, teacher: torch.Tensor, label_ids: Sequence[int]) -> torch.Tensor:
    """Mean over the batch of -sum_k teacher[k] log q(label k), q at the first place that has a label. teacher: (B, grades)."""
    places = (inputs["labels"] != -100).int().argmax(1) - 1  # the logits that predict it
    first = int(places.min())
    width = inputs["labels"].size(1) - first
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_to_keep=width).logits
    chosen = logits[torch.arange(len(places), device=logits.device), places - first].float()
    log_probs = chosen.log_softmax(-1)[:, list(label_ids)]
    return -(teacher.to(log_probs) * log_probs).sum(1).mean()

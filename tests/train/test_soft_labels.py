"""Distilling label probabilities: the loss against numpy, through the trainer's own call, and that it moves the student where it should."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.special import log_softmax
from trl import SFTConfig

from lore_lab.train.base import train_tokenizer
from lore_lab.train.common import prepare
from lore_lab.train.sft import train_sft
from lore_lab.train.soft_labels import COLUMN, SoftLabelCollator, SoftLabels, soft_cross_entropy
from tests.train.lab import config
from tests.train.test_base import TEXTS
from tests.train.test_buckets import model

LABELS = [30, 31, 32]
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [14, 15]]
TARGETS = [[30, 2], [31, 2], [32, 20, 21, 2], [31, 2]]
TEACHER = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9], [0.3, 0.4, 0.3]]


def batch() -> dict[str, torch.Tensor]:
    rows = [
        {"input_ids": prompt + target, "labels": [-100] * len(prompt) + target, COLUMN: teacher}
        for prompt, target, teacher in zip(PROMPTS, TARGETS, TEACHER, strict=True)
    ]
    return SoftLabelCollator(0)(rows)


def logits_of(policy: Any, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = policy(torch.tensor([ids])).logits[0].double().numpy()
    return found


def by_hand(policy: Any) -> tuple[float, float]:
    """(cross-entropy a target token, soft cross-entropy a row), each pair in a pass of its own."""
    hard, soft, tokens = 0.0, 0.0, 0
    for prompt, target, teacher in zip(PROMPTS, TARGETS, TEACHER, strict=True):
        steps = log_softmax(logits_of(policy, prompt + target), axis=1)[len(prompt) - 1 : -1]
        hard -= sum(step[token] for step, token in zip(steps, target, strict=True))
        tokens += len(target)
        soft -= float(np.dot(teacher, steps[0][LABELS]))
    return hard / tokens, soft / len(PROMPTS)


def test_the_soft_term_is_numpys() -> None:
    policy, inputs = model(), batch()
    assert soft_cross_entropy(policy, inputs, inputs.pop(COLUMN), LABELS).item() == pytest.approx(by_hand(policy)[1], rel=1e-4)


@pytest.mark.parametrize(("buckets", "accumulation"), [(1, 1), (3, 1), (1, 2)])
def test_the_trainers_loss_is_both_terms(tmp_path: Path, buckets: int, accumulation: int) -> None:
    policy = model()
    rows = {"input_ids": [[5, 6]], "completion_mask": [[0, 1]], COLUMN: [TEACHER[0]]}
    arguments = SFTConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, max_length=None)
    trainer = SoftLabels(
        label_ids=LABELS, weight=0.5, model=policy, args=arguments, processing_class=train_tokenizer(TEXTS, 300), train_dataset=Dataset.from_dict(rows)
    )  # fmt: skip
    trainer.compute = SimpleNamespace(length_buckets=buckets, labels_only=True, prompts_once=False)
    trainer.current_gradient_accumulation_steps = accumulation
    policy.train()
    hard, soft = by_hand(policy)
    inputs = batch()
    count = (inputs["labels"] != -100).sum()
    loss = trainer.compute_loss(policy, inputs, num_items_in_batch=count * accumulation)
    assert loss.item() == pytest.approx((hard + 0.5 * soft) / accumulation, rel=1e-4)
    assert trainer._metrics["train"]["soft_loss"] == [pytest.approx(soft, rel=1e-4)]


def test_training_brings_the_student_to_the_teachers_probabilities(tmp_path: Path) -> None:
    """Every hard label is the first one; only the probabilities tell the rows apart."""
    settings = config("distill=probabilities", "distill.max_steps=60", "distill.learning_rate=0.05", "distill.warmup_steps=0").distill
    settings.per_device_train_batch_size = 4
    prepare("cpu", 1)
    policy, tokenizer = model(), train_tokenizer(TEXTS, 300)
    compute = config().compute
    seen: dict[str, list[float]] = {}

    def log(step: int, metrics: Any) -> None:
        for name, value in metrics.items():
            seen.setdefault(name, []).append(value)

    train_sft(
        settings, 0, compute, policy, tokenizer, PROMPTS, [[30, 2]] * 4, tmp_path, log, lambda *_: None, stage="distill",
        trainer=partial(SoftLabels, label_ids=LABELS, weight=20.0), columns={COLUMN: TEACHER},
    )  # fmt: skip
    found = np.array([log_softmax(logits_of(policy.eval(), prompt)[-1])[LABELS] for prompt in PROMPTS])
    assert np.exp(found).argmax(axis=1).tolist() == np.argmax(TEACHER, axis=1).tolist()
    assert seen["soft_loss"][-1] < 0.7 * seen["soft_loss"][0]

"""TRL's DPOTrainer on our tokens: the loss against independent maths, and a training that survives being cut."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback, set_seed
from trl import DPOTrainer

from lore_lab.config.training import DpoConfig
from lore_lab.train.base import make_model, train_tokenizer
from lore_lab.train.dpo import Preference, make_trainer, train_dpo

from . import lab

PAIRS = [
    Preference([20, 21, 22], [30, 31, 1], [40, 1]),
    Preference([23], [32, 1], [41, 42, 43, 1]),
    Preference([24, 25], [33, 1], [44, 1]),
    Preference([26, 27, 28, 29], [34, 35, 36, 1], [45, 46, 1]),
]


def test_the_hook_has_the_signature_the_lab_was_written_for() -> None:
    """Rows of token ids must never meet TRL's tokenisation; the reference must come from the weights before the first step."""
    assert list(inspect.signature(DPOTrainer._prepare_dataset).parameters) == [
        "self",
        "dataset",
        "processing_class",
        "args",
        "dataset_name",
    ]
    source = inspect.getsource(DPOTrainer.__init__)
    assert source.index("self._prepare_dataset(train_dataset") < source.index("self._precompute_ref_logps(")


def make(folder: Path, *words: str) -> tuple[DpoConfig, Any, Any, Any]:
    config = lab.config(
        "dpo=default", "dpo.per_device_train_batch_size=2", "dpo.lr_scheduler_type=constant", "dpo.learning_rate=0.01", *words
    )
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(["red dress 1 2 3 4\n"] * 4, config.model.vocab_size)
    set_seed(7)
    model = make_model(config.model, tokenizer)
    model.save_pretrained(folder / "policy")
    model.config._name_or_path = str(folder / "policy")
    return config.dpo, config.compute, model, tokenizer


def token_log_probs(model: Any, prompt: list[int], completion: list[int]) -> np.ndarray:
    """Of each token of the completion, from logits in double precision, without padding."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0].double().numpy()[len(prompt) - 1 : -1]
    shifted = logits - logits.max(axis=1, keepdims=True)
    normalised = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalised[np.arange(len(completion)), completion]


LOSSES = {
    "sigmoid": lambda chosen, rejected, beta: np.log1p(np.exp(-beta * (chosen.sum() - rejected.sum()))),
    "hinge": lambda chosen, rejected, beta: max(0.0, 1 - beta * (chosen.sum() - rejected.sum())),
    "ipo": lambda chosen, rejected, beta: (chosen.mean() - rejected.mean() - 1 / (2 * beta)) ** 2,
}


def test_every_loss_of_the_schema_is_held_to_its_formula() -> None:
    assert set(DpoConfig.__dataclass_fields__["loss_type"].metadata["choices"]) == set(LOSSES)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weight", [0.0, 0.65])
def test_the_loss_is_dpos_with_the_sft_term(tmp_path: Path, loss: str, weight: float) -> None:
    config, compute, model, tokenizer = make(tmp_path, f"dpo.loss_type={loss}", f"dpo.sft_weight={weight}", "dpo.beta=0.3")
    trainer = make_trainer(config, 0, compute, model, tokenizer, PAIRS, tmp_path)
    before = [[token_log_probs(model, pair.prompt_ids, ids) for ids in pair[1:]] for pair in PAIRS]
    lab.drift(trainer)
    model.eval()
    batch = trainer.data_collator([dict(trainer.train_dataset[place]) for place in range(len(PAIRS))])
    found = trainer.compute_loss(model, batch).item()
    after = [[token_log_probs(model, pair.prompt_ids, ids) for ids in pair[1:]] for pair in PAIRS]
    ratios = [[new - old for new, old in zip(*own, strict=True)] for own in zip(after, before, strict=True)]
    preferred = np.mean([LOSSES[loss](chosen, rejected, 0.3) for chosen, rejected in ratios])
    supervised = -np.concatenate([chosen for chosen, _ in after]).mean()
    assert found == pytest.approx(preferred + weight * supervised, rel=1e-4)
    assert abs(preferred - np.mean([LOSSES[loss](0 * chosen, 0 * rejected, 0.3) for chosen, rejected in ratios])) > 1e-3


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_training_prefers_the_chosen(tmp_path: Path) -> None:
    config, compute, model, tokenizer = make(tmp_path, "dpo.max_steps=20", "dpo.sft_weight=0")
    logged: dict[str, list[float]] = {}
    before = [[token_log_probs(model, pair.prompt_ids, ids).sum() for ids in pair[1:]] for pair in PAIRS]
    train_dpo(config, 0, compute, model, tokenizer, PAIRS, tmp_path, lambda _, numbers: [logged.setdefault(k, []).append(v) for k, v in numbers.items()] and None, lambda *_: None)  # fmt: skip
    after = [[token_log_probs(model, pair.prompt_ids, ids).sum() for ids in pair[1:]] for pair in PAIRS]
    assert all(new[0] - new[1] > old[0] - old[1] for new, old in zip(after, before, strict=True))
    assert len(logged["rewards/margins"]) == 20
    assert logged["rewards/margins"][0] == pytest.approx(0, abs=1e-5)
    assert logged["rewards/margins"][-1] > 0.1


class Cut(TrainerCallback):
    """A kill in the middle of the third step's end."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 3:
            raise KeyboardInterrupt


def test_a_cut_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    words = ("dpo.max_steps=4", "dpo.save_steps=2")
    rest = (lambda *_: None, lambda *_: None)
    config, compute, whole, tokenizer = make(tmp_path / "a", *words)
    train_dpo(config, 5, compute, whole, tokenizer, PAIRS, tmp_path / "a", *rest)
    config, compute, model, tokenizer = make(tmp_path / "b", *words)
    trainer = make_trainer(config, 5, compute, model, tokenizer, PAIRS, tmp_path / "b", [Cut()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    config, compute, again, tokenizer = make(tmp_path / "b", *words)
    train_dpo(config, 5, compute, again, tokenizer, PAIRS, tmp_path / "b", *rest)
    assert (tmp_path / "b" / "resumed.json").read_text() == '{"step": 2}'
    assert torch.equal(weights(again), weights(whole))

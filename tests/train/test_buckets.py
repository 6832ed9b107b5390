"""Economies of the forward passes change what is computed by nothing but the order of sums."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl import SFTConfig

from lore_lab.train.base import train_tokenizer
from lore_lab.train.buckets import BucketedSft, groups
from tests.train.lab import make, rescored, window
from tests.train.test_base import TEXTS


def model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=40, max_position_embeddings=64, initializer_range=0.2, pad_token_id=0, **sizes))


def batch() -> tuple[torch.Tensor, torch.Tensor, int]:
    """Left-padded prompts, right-padded completions of very different lengths; (ids, mask, T)."""
    torch.manual_seed(1)
    prompts, completions = [3, 9, 5, 1, 7, 9, 2], [6, 1, 12, 3, 2, 11, 8]
    mask = torch.zeros(7, 9 + 12, dtype=torch.long)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        mask[row, 9 - prompt : 9 + completion] = 1
    return torch.randint(1, 40, mask.shape) * mask, mask, 12


def test_groups_hold_every_row_once_in_the_least_span() -> None:
    _, mask, _ = batch()
    found = list(groups(mask, 3))
    assert sorted(torch.cat([rows for rows, _, _ in found]).tolist()) == list(range(7))
    for rows, start, end in found:
        assert mask[rows].sum() == mask[rows, start:end].sum()
        assert mask[rows, start].any()
        assert mask[rows, end - 1].any()


def repeated() -> tuple[torch.Tensor, torch.Tensor, int]:
    """As `batch`, but rows 0, 2, 5 and rows 1, 4 have one prompt each, and one prompt is a single token."""
    ids, mask, keep = batch()
    for row, like in ((2, 0), (5, 0), (4, 1)):
        ids[row, :9], mask[row, :9] = ids[like, :9], mask[like, :9]
    return ids, mask, keep


ECONOMIES = {
    "buckets": {"length_buckets": 3},
    "prompts once": {"prompts_once": True},
    "all": {"length_buckets": 3, "prompts_once": True},
}


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    return make(tmp_path)


def measured(trainer: Any, inputs: dict[str, torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """(loss, log-probs, entropies), and gradients by parameter, of an update on `inputs`."""
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1
    columns = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    prompts, prompt_mask, completions, mask = (inputs[name] for name in columns)
    whole, shown = torch.cat([prompts, completions], 1), torch.cat([prompt_mask, mask], 1)
    found, entropies, _ = trainer._forward(trainer.model, whole, shown, completions.size(1), compute_entropy=True)
    loss = trainer._compute_loss(trainer.model, dict(inputs))
    loss.backward()
    return [loss.detach(), found.detach() * mask, entropies.detach() * mask], [one.grad.clone() for one in trainer.model.parameters()]


@pytest.mark.parametrize("economy", ECONOMIES)
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_loss_log_probs_and_gradients_equal_the_padded_forward_of_trl(trainer: Any, economy: str, beta: float) -> None:
    ids, mask, _ = repeated()
    inputs = {
        "prompt_ids": ids[:, :9], "prompt_mask": mask[:, :9], "completion_ids": ids[:, 9:], "completion_mask": mask[:, 9:],
        "advantages": torch.tensor([-1.0, 0, 0.5, 0, 0, 0, 1.0]), "num_items_in_batch": mask[:, 9:].sum(),
        "ref_per_token_logps": torch.full((7, 12), -3.0),
    }  # fmt: skip
    trainer.beta = beta
    plain = measured(trainer, inputs)
    for name, value in ECONOMIES[economy].items():
        setattr(trainer.compute, name, value)
    found = measured(trainer, inputs)
    assert plain[0][1].abs().sum() > 1
    assert max(gradient.abs().max() for gradient in plain[1]) > 1e-4
    for one, other in zip(found[0], plain[0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for one, other in zip(found[1], plain[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_prompts_are_computed_once(trainer: Any) -> None:
    ids, mask, keep = repeated()
    rows: list[int] = []
    handle = trainer.model.base_model.register_forward_hook(
        lambda module, args, options, output: rows.append(len(options["input_ids"])), with_kwargs=True
    )
    trainer.compute.prompts_once = True
    trainer._forward(trainer.model, ids, mask, keep)
    handle.remove()
    assert rows == [4, 7]


@pytest.mark.parametrize("temperature", ["1.0", "0.7"])
def test_the_samplers_log_probs_are_those_of_a_forward_pass(tmp_path: Path, temperature: str) -> None:
    trainer = make(tmp_path, "compute.sampler_log_probs=true", f"rl.temperature={temperature}")
    calls: list[int] = []
    plain = trainer._forward
    trainer._forward = lambda *args, **options: calls.append(1) or plain(*args, **options)
    batch = window(trainer)
    assert not calls, "the old log-probs were computed again"
    assert trainer.drawn is None
    torch.testing.assert_close(batch["old_per_token_logps"], rescored(trainer, batch) * batch["completion_mask"], rtol=1e-4, atol=1e-5)


def begun() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, mask, labels): right-padded rows that begin with the same 26 tokens; what follows them differs, and its length."""
    torch.manual_seed(2)
    lengths = [3, 9, 5, 12]
    mask = torch.zeros(4, 26 + 12, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, : 26 + length] = 1
    ids = torch.randint(1, 40, mask.shape)
    ids[:, :26] = ids[0, :26]
    ids *= mask
    labels = ids.masked_fill(mask == 0, -100)
    for row, length in enumerate(lengths):
        labels[row, : 26 + length // 2] = -100
    return ids, mask, labels


def unlike() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids, mask, _ = batch()
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :9] = -100
    return ids, mask, labels


@pytest.mark.parametrize("rows", [unlike, begun])
def test_sft_loss_and_gradients_equal_the_padded_batch(tmp_path: Path, rows: Any) -> None:
    policy = model()
    tokenizer = train_tokenizer(TEXTS, 300)
    dataset = Dataset.from_dict({"input_ids": [[5, 6, 7, 8]], "completion_mask": [[0, 0, 1, 1]]})
    trainer = BucketedSft(
        policy, SFTConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, max_length=None, gradient_checkpointing=False), train_dataset=dataset,
        processing_class=tokenizer,
    )  # fmt: skip
    ids, mask, labels = rows()
    calls: list[int] = []
    policy.base_model.register_forward_hook(
        lambda module, args, options, output: calls.append(options["input_ids"].numel()), with_kwargs=True
    )
    results = []
    for buckets, economies in ((1, False), (3, False), (3, True)):
        trainer.compute = SimpleNamespace(length_buckets=buckets, labels_only=economies, prompts_once=economies)
        policy.zero_grad()
        inputs = {"input_ids": ids.clone(), "attention_mask": mask.clone(), "labels": labels.clone()}
        calls.clear()
        loss = trainer.compute_loss(
            policy, inputs, num_items_in_batch=None if buckets == 1 else torch.tensor(int((labels[:, 1:] != -100).sum()))
        )
        loss.backward()
        results.append((loss.detach(), [p.grad.clone() for p in policy.parameters()]))
    assert (sum(calls) < mask.sum()) == (rows is begun), "the beginning went through the model once"
    for loss, gradients in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=1e-4, atol=1e-5)
        for one, other in zip(gradients, results[0][1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)

"""Grouping rows by length changes what is computed by nothing but the order of sums."""

from pathlib import Path

import torch
from datasets import Dataset
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl import SFTConfig

from lore_lab.train.base import train_tokenizer
from lore_lab.train.buckets import BucketedSft, groups
from tests.train.lab import make
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


def test_loss_log_probs_and_gradients_equal_the_padded_forward_of_trl(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.model.train()
    ids, mask, keep = batch()
    inputs = {
        "prompt_ids": ids[:, :9], "prompt_mask": mask[:, :9], "completion_ids": ids[:, 9:], "completion_mask": mask[:, 9:],
        "advantages": torch.linspace(-1, 1, 7), "num_items_in_batch": mask[:, 9:].sum(),
    }  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    results = []
    for buckets in (1, 3):
        trainer.length_buckets = buckets
        trainer.model.zero_grad()
        found, entropies, _ = trainer._forward(trainer.model, ids, mask, keep, compute_entropy=True)
        loss = trainer._compute_loss(trainer.model, dict(inputs))
        loss.backward()
        gradients = [parameter.grad.clone() for parameter in trainer.model.parameters()]
        results.append((loss.detach(), found.detach() * mask[:, 9:], entropies.detach() * mask[:, 9:], gradients))
    assert results[0][1].abs().sum() > 1
    assert max(gradient.abs().max() for gradient in results[0][3]) > 1e-4
    for plain, grouped in zip(results[0][:3], results[1][:3], strict=True):
        torch.testing.assert_close(grouped, plain, rtol=1e-4, atol=1e-5)
    for plain, grouped in zip(results[0][3], results[1][3], strict=True):
        torch.testing.assert_close(grouped, plain, rtol=1e-3, atol=1e-5)


def test_sft_loss_and_gradients_equal_the_padded_batch(tmp_path: Path) -> None:
    policy = model()
    tokenizer = train_tokenizer(TEXTS, 300)
    rows = {"input_ids": [[5, 6, 7, 8]], "completion_mask": [[0, 0, 1, 1]]}
    trainer = BucketedSft(
        policy, SFTConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, max_length=None), train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    ids, mask, _ = batch()
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :9] = -100
    results = []
    for buckets in (1, 3):
        trainer.length_buckets = buckets
        policy.zero_grad()
        inputs = {"input_ids": ids.clone(), "attention_mask": mask.clone(), "labels": labels.clone()}
        loss = trainer.compute_loss(
            policy, inputs, num_items_in_batch=None if buckets == 1 else torch.tensor(int((labels[:, 1:] != -100).sum()))
        )
        loss.backward()
        results.append((loss.detach(), [p.grad.clone() for p in policy.parameters()]))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-4, atol=1e-5)
    for one, other in zip(results[1][1], results[0][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)

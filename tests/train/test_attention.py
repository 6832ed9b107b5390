"""Attention of grouped queries computes what transformers' own does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from lore_lab.rollout.engine import Sampling, TransformersEngine
from lore_lab.train.attention import NAME, grouped
from tests.train.lab import make, rescored, window

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8, "max_position_embeddings": 64,
    "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS = {"qwen3": (Qwen3Config, Qwen3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}


def model(kind: str, heads: int, groups: int, attention: str) -> torch.nn.Module:
    torch.manual_seed(0)
    config, policy = MODELS[kind]
    return policy._from_config(config(num_attention_heads=heads, num_key_value_heads=groups, **SIZES), attn_implementation=attention)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of several lengths, padded on the left and on the right."""
    torch.manual_seed(1)
    mask = torch.ones(4, 9, dtype=torch.long)
    mask[1, :4] = mask[2, 6:] = mask[3, :2] = mask[3, 7:] = 0
    return torch.randint(3, 40, mask.shape) * mask, mask


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("heads", "groups"), [(4, 2), (4, 1), (2, 2)])
@pytest.mark.parametrize("other", ["sdpa", "eager"])
def test_losses_and_gradients_are_those_of_transformers(kind: str, heads: int, groups: int, other: str) -> None:
    ids, mask = batch()
    labels = ids.masked_fill((mask.cumsum(1) < 2) | (mask == 0), -100)  # a padding position has no state to predict the first token from
    found = []
    for attention in (NAME, other):
        policy = model(kind, heads, groups, attention)
        loss = policy(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        found.append((loss, [parameter.grad for parameter in policy.parameters()]))
    (ours, gradients), (theirs, expected) = found
    torch.testing.assert_close(ours, theirs)
    for gradient, like in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, like, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
def test_without_a_mask_no_token_sees_a_later_one(kind: str) -> None:
    ids, _ = batch()
    torch.testing.assert_close(model(kind, 4, 2, NAME)(input_ids=ids).logits, model(kind, 4, 2, "sdpa")(input_ids=ids).logits)


def test_against_numpy() -> None:
    torch.manual_seed(2)
    query, key, value = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    hidden = torch.zeros(2, 1, 3, 5).masked_fill(torch.rand(2, 1, 3, 5) < 0.3, -1e30)
    found, _ = grouped(torch.nn.Identity(), query, key, value, hidden, scaling=0.3)
    for row, head in np.ndindex(2, 4):
        scores = 0.3 * query[row, head].numpy() @ key[row, head // 2].numpy().T + hidden[row, 0].numpy()
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        expected = weights / weights.sum(-1, keepdims=True) @ value[row, head // 2].numpy()
        np.testing.assert_allclose(found[row, :, head].numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_under_bfloat16_losses_and_gradients_are_those_of_float32_up_to_rounding(kind: str) -> None:
    """Padding positions see nothing: the least number float32 has, put before bfloat16, must not make their rows, or anything, nan."""
    ids, mask = batch()
    labels = ids.masked_fill((mask.cumsum(1) < 2) | (mask == 0), -100)
    found = []
    for attention, rounds in ((NAME, True), ("sdpa", False)):
        policy = model(kind, 4, 2, attention)
        with torch.autocast("cpu", torch.bfloat16, enabled=rounds):
            loss = policy(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        found.append((loss, torch.cat([parameter.grad.flatten() for parameter in policy.parameters() if parameter.grad is not None])))
    (ours, gradient), (exact, like) = found
    torch.testing.assert_close(ours, exact, atol=0.0, rtol=0.01)
    assert torch.cosine_similarity(gradient, like, dim=0) > 0.999
    assert gradient.norm() / like.norm() == pytest.approx(1, abs=0.02)


def test_what_is_decoded_behind_a_cache_is_the_same() -> None:
    prompts, sampling = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 8], [11, 12, 13]], Sampling(0.0, 8)
    one, other = (TransformersEngine(model("qwen3", 4, 2, attention), 0, (2,), rounds=2) for attention in (NAME, "sdpa"))
    assert one.generate(prompts, sampling) == other.generate(prompts, sampling)
    found, like = one.score(prompts, [[[3], [4]]] * 4), other.score(prompts, [[[3], [4]]] * 4)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(like))


def test_rl_behind_prompts_computed_once_has_the_same_log_probs(tmp_path: Path) -> None:
    economies = ["compute.prompts_once=true", "compute.length_buckets=3"]
    one, other = (make(tmp_path / attention, *economies, f"model.attention={attention}") for attention in (NAME, "sdpa"))
    batch = window(one)
    torch.testing.assert_close(rescored(one, batch), rescored(other, batch))


@pytest.mark.parametrize("more", ["softcap", "s_aux", "position_bias"])
def test_a_model_that_asks_for_more_is_refused(more: str) -> None:
    states = torch.zeros(1, 1, 1, 4)
    with pytest.raises(ValueError, match=f"grouped knows no {more}; take model.attention=eager"):
        grouped(torch.nn.Identity(), states, states, states, None, **{more: 1.0})

"""TRL's fused head over small tiles against itself over large ones, and against numpy."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from trl.kernels import chunked_logprob


@pytest.fixture(autouse=True)
def _library_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_logprob, "TOKEN_CHUNK_SIZE", 4096)


def head(tokens: int) -> tuple[torch.Tensor, ...]:
    """(log-probs, entropies, gradients of states and of weights) of so many tokens."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(tokens, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (tokens,))
    log_probs, entropies, *_ = chunked_logprob.ChunkedLogProbFunction.apply(
        hidden, weight, None, targets, 0.7, 32768, None, 1.0, ("log_probs", "entropy")
    )
    (log_probs.sum() + 0.1 * (entropies**2).sum()).backward()
    logits = (hidden.detach().numpy() @ weight.detach().numpy().T) / 0.7
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(log_probs.detach().numpy(), expected[np.arange(tokens), targets], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(entropies.detach().numpy(), -(np.exp(expected) * expected).sum(1), rtol=1e-4, atol=1e-5)
    assert hidden.grad is not None
    assert weight.grad is not None
    return log_probs.detach(), entropies.detach(), hidden.grad, weight.grad


@pytest.mark.parametrize("tokens", [1, 255, 256, 257, 700])
def test_log_probs_entropies_and_gradients_are_those_of_large_tiles(tokens: int) -> None:
    large = head(tokens)
    tiles = importlib.reload(importlib.import_module("lore_lab.train.tiles"))
    assert chunked_logprob.TOKEN_CHUNK_SIZE == tiles.TOKENS == 256
    for one, other in zip(head(tokens), large, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_library_without_such_tiles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("lore_lab.train.tiles")
    monkeypatch.delattr(chunked_logprob, "TOKEN_CHUNK_SIZE")
    with pytest.raises(RuntimeError, match="this TRL has no TOKEN_CHUNK_SIZE"):
        importlib.reload(module)

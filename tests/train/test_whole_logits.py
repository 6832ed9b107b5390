"""All logits of a pass at once against TRL's tiles, and against numpy."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from trl.kernels import ChunkedLogProbFunction
from trl.kernels.chunked_logprob import OPTIONAL_OUTPUTS
from trl.trainer import utils

VOCABULARY = 50


@pytest.fixture
def whole() -> Iterator[Any]:
    """The module, installed for the test."""
    own = utils._ChunkedLogProbFunction
    yield importlib.reload(importlib.import_module("lore_lab.train.whole_logits"))
    utils._ChunkedLogProbFunction = own


def head(function: Any, tokens: int, temperature: float, softcap: float | None, scale: float, bias: bool) -> dict[str, torch.Tensor]:
    """What a head gives for random states, and the gradients of a loss of its log-probs and entropies."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(tokens, 16, requires_grad=True), torch.randn(VOCABULARY, 16, requires_grad=True)
    shift = torch.randn(VOCABULARY, requires_grad=True) if bias else None
    targets = torch.randint(0, VOCABULARY, (tokens,))
    found = function.apply(hidden, weight, shift, targets, temperature, 32768, softcap, scale, OPTIONAL_OUTPUTS)
    named = dict(zip(("log_probs", *OPTIONAL_OUTPUTS), found, strict=True))
    (named["log_probs"].sum() + 0.1 * (named["entropy"] ** 2).sum()).backward()
    given = {"hidden": hidden, "weight": weight, "bias": shift}
    logits = hidden.detach().numpy().astype(float) @ weight.detach().numpy().T.astype(float)
    logits = (logits + (0 if shift is None else shift.detach().numpy())) * scale
    logits = (logits if softcap is None else softcap * np.tanh(logits / softcap)) / temperature
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(named["log_probs"].detach().numpy(), expected[np.arange(tokens), targets], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(named["entropy"].detach().numpy(), -(np.exp(expected) * expected).sum(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(named["log_sum_sq_probs"].numpy(), np.log((np.exp(expected) ** 2).sum(1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(named["mean_logits"].numpy(), logits.mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(named["is_top1"].numpy(), logits.argmax(1) == targets.numpy())
    grads = {f"gradient of {name}": tensor.grad for name, tensor in given.items() if tensor is not None}
    return {name: tensor.detach() for name, tensor in (named | grads).items()}


@pytest.mark.parametrize(
    ("tokens", "temperature", "softcap", "scale", "bias"),
    [(1, 1.0, None, 1.0, False), (300, 0.7, None, 1.0, True), (300, 1.0, 3.0, 0.5, False)],
)
def test_outputs_and_gradients_are_those_of_tiles(
    whole: Any, tokens: int, temperature: float, softcap: float | None, scale: float, bias: bool
) -> None:
    assert utils._ChunkedLogProbFunction is whole.WholeLogits, "it is not installed"
    given = (tokens, temperature, softcap, scale, bias)
    tiles = head(ChunkedLogProbFunction, *given)
    for name, tensor in head(whole.WholeLogits, *given).items():
        torch.testing.assert_close(tensor, tiles[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_what_nobody_asks_for_is_not_computed(whole: Any) -> None:
    found = whole.WholeLogits.apply(torch.randn(3, 16), torch.randn(VOCABULARY, 16), None, torch.tensor([1, 2, 3]), 1.0, 32768)
    assert [tensor is not None for tensor in found] == [True, False, False, False, False]


def test_under_autocast_gradients_are_those_of_float32_up_to_rounding(whole: Any) -> None:
    exact = head(whole.WholeLogits, 300, 1.0, None, 1.0, False)
    torch.manual_seed(0)
    hidden, weight = torch.randn(300, 16, requires_grad=True), torch.randn(VOCABULARY, 16, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (300,))
    with torch.autocast("cpu", torch.bfloat16):
        log_probs, entropy, *_ = whole.WholeLogits.apply(hidden, weight, None, targets, 1.0, 32768, None, 1.0, ("entropy",))
    assert log_probs.dtype == torch.float32
    (log_probs.sum() + 0.1 * (entropy**2).sum()).backward()
    torch.testing.assert_close(log_probs.detach(), exact["log_probs"], rtol=0.02, atol=0.05)
    for own, name in ((hidden, "hidden"), (weight, "weight")):
        assert own.grad is not None
        assert (own.grad - exact[f"gradient of {name}"]).norm() < 0.01 * exact[f"gradient of {name}"].norm()


def test_more_logits_than_fit_go_through_tiles(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "MOST", 3 * VOCABULARY)
    asked: list[int] = []
    tiles = ChunkedLogProbFunction.apply
    monkeypatch.setattr(ChunkedLogProbFunction, "apply", lambda hidden, *rest: asked.append(len(hidden)) or tiles(hidden, *rest))
    for tokens in (3, 4):
        whole.WholeLogits.apply(
            torch.randn(tokens, 16), torch.randn(VOCABULARY, 16), None, torch.zeros(tokens, dtype=torch.long), 1.0, 32768, None, 1.0, ()
        )
    assert asked == [4]


def test_a_library_without_such_a_head_is_refused(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(utils, "_ChunkedLogProbFunction")
    with pytest.raises(RuntimeError, match="this TRL has no _ChunkedLogProbFunction"):
        importlib.reload(whole)

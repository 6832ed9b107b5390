"""Layers compiled by torch, in training: `compute.compile`.

accelerate's regional compilation: a kind of layer once, for rows of any number and length. Only what a step goes through is compiled: the policy that
a stage saves and samples from stays as it was. Importing this module turns it on for the process; a stage's worker imports it where the config
chose it (lore_lab.stages.graph).

Torch keeps compiled graphs and takes them again where they fit; one made for another stage's rows would, and it rounds otherwise. So that results do
not depend on what ran before, a region meets rows of one fixed size before its own: its graph is always made for these, and no other is kept.

Prompts that go through the model once (lore_lab.train.prompts_once) do so as they are, which fills a cache; completions behind them are compiled. A layer
is given its own keys and values in place of the cache: with the cache each layer would have a graph of its own.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, NamedTuple

import accelerate.accelerator
import torch
from accelerate.utils.other import compile_regions
from torch._dynamo.eval_frame import OptimizedModule
from torch.utils._pytree import tree_flatten, tree_unflatten

import lore_lab.train.compiler  # noqa: F401  (how it compiles)

#: of the rows a graph is made for: primes, since torch takes equal sizes for one size. BEFORE: tokens that keys and values stand for
ROWS, TOKENS, BEFORE = 13, 89, 53
os.environ |= {
    "ACCELERATE_DYNAMO_BACKEND": "inductor",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "true",
    "ACCELERATE_DYNAMO_USE_DYNAMIC": "true",
}


class Before:
    """Keys and values (B, G, P, D) of what stands before a layer's input, as the layer asks transformers' cache for them. Nothing is added to it."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.keys, self.values = keys, values

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)


def compile_at_fixed_sizes(model: torch.nn.Module, **compiling: Any) -> torch.nn.Module:
    """accelerate's `compile_regions`, each region of which first meets every kind of input at `ROWS` by `TOKENS`. compiling: of torch.compile."""
    compiled = compile_regions(model, **compiling)
    for parent in list(compiled.modules()):
        for name, region in parent.named_children():
            if isinstance(region, OptimizedModule):
                if isinstance(region._orig_mod, torch.nn.Embedding):  # whose threads add gradients up in whatever order they come
                    parent.add_module(name, region._orig_mod)
                else:
                    region.forward = partial(_forward, region._orig_mod, region.forward, name, [])
    if not isinstance(compiled, OptimizedModule):
        compiled.train = partial(_train, compiled, model)
    return compiled


def _train(compiled: torch.nn.Module, plain: torch.nn.Module, mode: bool = True) -> torch.nn.Module:
    """What holds the regions was copied, and with it whether it trains: TRL asks the plain model."""
    plain.train(mode)
    return type(compiled).train(compiled, mode)


def _forward(plain: torch.nn.Module, compiled: Any, name: str, met: list[Any], *args: Any, **kwargs: Any) -> Any:
    """A region's call. name: its own; of a layer, its place among the layers. met: the kinds of input it has had."""
    cache = kwargs.get("past_key_values")
    if cache is not None:
        layer = cache.layers[int(name)] if name.isdecimal() else None
        if layer is None or not layer.get_seq_length() or not torch.is_grad_enabled():  # it is being filled
            return plain(*args, **kwargs)
        kwargs["past_key_values"] = Before(layer.keys, layer.values)
    _meet(met, plain, compiled, args, kwargs)
    return compiled(*args, **kwargs)


def _meet(met: list[Any], region: torch.nn.Module, compiled: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before a region's call: a call and its gradients at fixed sizes, where it has had no input of this kind."""
    leaves, tree = tree_flatten((args, kwargs))
    stand_ins = _fixed(leaves)
    kind = (tree, stand_ins, torch.is_grad_enabled(), region.training)
    if stand_ins is None or kind in met:
        return
    met.append(kind)
    keeps = torch._inductor.config.patch(fx_graph_cache=True), torch._functorch.config.patch(enable_autograd_cache=True)
    with keeps[0], keeps[1], torch.random.fork_rng():
        made = [_made(own) for own in stand_ins]
        args, kwargs = tree_unflatten(made, tree)
        answers = [answer for answer in tree_flatten(compiled(*args, **kwargs))[0] if answer.requires_grad]
        given = [tensor for own in made for tensor in (vars(own).values() if isinstance(own, Before) else (own,))]
        learned = [weight for weight in (*given, *region.parameters()) if isinstance(weight, torch.Tensor) and weight.requires_grad]
        if answers:  # not `backward`: the weights keep the gradients they have
            torch.autograd.grad(answers, learned, [torch.zeros_like(answer) for answer in answers], allow_unused=True)


class _Size(NamedTuple):
    """Of a tensor that is made for a region to meet."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    requires_grad: bool


def _made(own: Any) -> Any:
    if isinstance(own, _Size):
        return torch.zeros(own.shape, dtype=own.dtype, device=own.device, requires_grad=own.requires_grad)
    return Before(*map(_made, own)) if isinstance(own, tuple) else own


def _fixed(leaves: list[Any]) -> tuple[Any, ...] | None:
    """What a region is given, with a `_Size` for each tensor, a pair of them for `Before`, fixed numbers in place of its rows and tokens. None for
    what has no fixed size: a cache of keys and values, rows without tokens, a single row or token, which torch compiles for itself alone."""
    first = next((leaf for leaf in leaves if isinstance(leaf, torch.Tensor)), None)
    if first is None or first.ndim < 2 + first.is_floating_point() or 1 in first.shape[:2]:
        return None
    rows, tokens = first.shape[:2]
    before = next((leaf.keys.shape[2] for leaf in leaves if isinstance(leaf, Before)), 0)
    seen = {before + tokens: BEFORE + TOKENS, tokens: TOKENS} if before else {tokens: TOKENS}
    fixed: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Before) and before > 1:
            fixed.append(tuple(_Size((ROWS, *own.shape[1:2], BEFORE, *own.shape[3:]), *_kind(own)) for own in (leaf.keys, leaf.values)))
        elif isinstance(leaf, torch.Tensor) and leaf.is_contiguous():
            fixed.append(_Size(_shape(leaf.shape, rows, seen), *_kind(leaf)))
        elif leaf is None or isinstance(leaf, bool | int | float | str):
            fixed.append(leaf)
        else:
            return None
    return tuple(fixed)


def _kind(tensor: torch.Tensor) -> tuple[torch.dtype, torch.device, bool]:
    return tensor.dtype, tensor.device, tensor.requires_grad


def _shape(shape: torch.Size, rows: int, tokens: dict[int, int]) -> tuple[int, ...]:
    """`shape` at fixed sizes: of (T,), (B, T, ...), (1, T, ...) or a mask (B, 1, T, S). tokens: numbers of them, to the fixed ones."""
    counts = {1: (0,), 4: (2, 3)}.get(len(shape), (1,))
    fixed = [tokens.get(size, size) if place in counts else size for place, size in enumerate(shape)]
    if len(shape) > 1 and shape[0] == rows:
        fixed[0] = ROWS
    return tuple(fixed)


if not hasattr(accelerate.accelerator, "compile_regions"):
    raise RuntimeError("compute.compile=true: this accelerate compiles regions elsewhere; take compute.compile=false")
accelerate.accelerator.compile_regions = compile_at_fixed_sizes

"""Layers compiled by torch, in training on given texts: `compute.compile`.

accelerate's regional compilation: a kind of layer once, for rows of any number and length. Only what a step goes through is compiled: the policy that
a stage saves and samples from stays as it was. Importing this module turns it on for the process; a stage's worker imports it where the config
chose it (lore_lab.stages.graph).

Torch keeps compiled graphs and takes them again where they fit; one made for another stage's rows would, and it rounds otherwise. So that results do
not depend on what ran before, a region meets rows of one fixed size before its own: its graph is always made for these, and no other is kept.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import accelerate.accelerator
import torch
import torch._functorch.config
import torch._inductor.config
from accelerate.utils.other import compile_regions
from torch._dynamo.eval_frame import OptimizedModule
from torch.utils._pytree import tree_flatten, tree_unflatten

#: of the rows a graph is made for: primes, since torch takes equal sizes for one size
ROWS, TOKENS = 13, 89
#: the user's own folder, where torch's is one under /tmp that anybody could have made
_KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lore_lab", "compiled")

_KEPT.mkdir(mode=0o700, parents=True, exist_ok=True)
os.environ |= {
    "ACCELERATE_DYNAMO_BACKEND": "inductor",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "true",
    "ACCELERATE_DYNAMO_USE_DYNAMIC": "true",
    "TORCHINDUCTOR_CACHE_DIR": str(_KEPT),
}
torch._inductor.config.fx_graph_cache = False
torch._functorch.config.enable_autograd_cache = False


def compile_at_fixed_sizes(model: torch.nn.Module, **compiling: Any) -> torch.nn.Module:
    """accelerate's `compile_regions`, each region of which first meets every kind of input at `ROWS` by `TOKENS`. compiling: of torch.compile."""
    compiled = compile_regions(model, **compiling)
    for parent in list(compiled.modules()):
        for name, region in parent.named_children():
            if isinstance(region, OptimizedModule):
                if isinstance(region._orig_mod, torch.nn.Embedding):  # whose threads add gradients up in whatever order they come
                    parent.add_module(name, region._orig_mod)
                else:
                    region.register_forward_pre_hook(partial(_meet, []), with_kwargs=True)
    return compiled


def _meet(met: list[Any], region: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before a region's call. met: the kinds of input it has had."""
    leaves, tree = tree_flatten((args, kwargs))
    stand_ins = _fixed(leaves)
    kind = (tree, stand_ins, torch.is_grad_enabled(), region.training)
    if stand_ins is None or kind in met:
        return
    met.append(kind)
    keeps = torch._inductor.config.patch(fx_graph_cache=True), torch._functorch.config.patch(enable_autograd_cache=True)
    with keeps[0], keeps[1], torch.random.fork_rng():
        made = [
            torch.zeros(own[0], dtype=own[1], device=own[2], requires_grad=own[3]) if isinstance(own, tuple) else own for own in stand_ins
        ]
        args, kwargs = tree_unflatten(made, tree)
        answers = [answer for answer in tree_flatten(region(*args, **kwargs))[0] if answer.requires_grad]
        learned = [weight for weight in (*made, *region.parameters()) if isinstance(weight, torch.Tensor) and weight.requires_grad]
        if answers:  # not `backward`: the weights keep the gradients they have
            torch.autograd.grad(answers, learned, [torch.zeros_like(answer) for answer in answers], allow_unused=True)


def _fixed(leaves: list[Any]) -> tuple[Any, ...] | None:
    """What a region is given, with (shape, dtype, device, requires_grad) for tensors, `ROWS` and `TOKENS` in place of their rows and tokens. None for
    what has no fixed size: a cache of keys and values, rows without tokens, a single row or token, which torch compiles for itself alone."""
    first = next((leaf for leaf in leaves if isinstance(leaf, torch.Tensor)), None)
    if first is None or first.ndim < 2 + first.is_floating_point() or 1 in first.shape[:2]:
        return None
    rows, tokens = first.shape[:2]
    fixed: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor) and leaf.is_contiguous():
            fixed.append((_shape(leaf.shape, rows, tokens), leaf.dtype, leaf.device, leaf.requires_grad))
        elif leaf is None or isinstance(leaf, bool | int | float | str):
            fixed.append(leaf)
        else:
            return None
    return tuple(fixed)


def _shape(shape: torch.Size, rows: int, tokens: int) -> tuple[int, ...]:
    """`shape` at fixed sizes: of (T,), (B, T, ...), (1, T, ...) or a mask (B, 1, T, T)."""
    counts = {1: (0,), 4: (2, 3)}.get(len(shape), (1,))
    fixed = [TOKENS if place in counts and size == tokens else size for place, size in enumerate(shape)]
    if len(shape) > 1 and shape[0] == rows:
        fixed[0] = ROWS
    return tuple(fixed)


if not hasattr(accelerate.accelerator, "compile_regions"):
    raise RuntimeError("compute.compile=true: this accelerate compiles regions elsewhere; take compute.compile=false")
accelerate.accelerator.compile_regions = compile_at_fixed_sizes

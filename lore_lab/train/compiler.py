"""Torch's compiler made ready for `compute.compile`: its settings, where it keeps what it made, what it loads. Turns nothing on: lore_lab.train.compiled does.

The fork server loads this once where stages will compile; each of them would spend seconds on it otherwise.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch._dynamo.config
import torch._functorch.config
import torch._inductor.compile_fx
import torch._inductor.config
from torch._inductor.codegen.cpp import CppKernel
from torch._inductor.cpu_vec_isa import pick_vec_isa

# An ImportError, here and below: the fork server passes over it, and the stage tells it.
if not hasattr(CppKernel, "need_use_acc_helper"):
    raise ImportError("compute.compile=true: this torch adds up otherwise; take compute.compile=false")
#: what decides how layers are compiled, beyond what torch's own keys know of
_CODE = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("compile*.py")))
#: the user's own folder, where torch's is one under /tmp that anybody could have made
_KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lore_lab", "compiled", hashlib.sha256(_CODE).hexdigest()[:12])

try:
    _KEPT.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as error:
    raise ImportError(
        f"compute.compile=true keeps what it compiled in {_KEPT}, and cannot: {error}; name another folder in XDG_CACHE_HOME"
    ) from error
os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_KEPT)
torch._inductor.config.fx_graph_cache = False
torch._functorch.config.enable_autograd_cache = False
# What is kept spares half of a layer's compiling, unless its graph holds an autograd function, as that of our attention does.
torch._functorch.config.autograd_cache_allow_custom_autograd_functions = True
# A layer's numbers (a scale, an epsilon) never change; taken for variables, they cost a second tracing.
torch._dynamo.config.specialize_float = True
# Sums of more than 4,096 numbers would be added up in pieces, by a graph of their own: rows just long enough cost a stage 14 s in its midst.
CppKernel.need_use_acc_helper = lambda self, reduction_type, dtype, use_scalar: reduction_type == "welford_reduce"  # type: ignore[method-assign]
pick_vec_isa()  # remembered by the process; it runs a program to see what the processor can do

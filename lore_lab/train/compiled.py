"""Layers compiled by torch, in training on given texts: `compute.compile`.

accelerate's regional compilation: a kind of layer once, for rows of any number and length. Only what a step goes through is compiled: the policy that
a stage saves and samples from stays as it was. Importing this module turns it on for the process; a stage's worker imports it where the config
chose it (lore_lab.stages.graph).
"""

from __future__ import annotations

import os
from pathlib import Path

import torch._functorch.config
import torch._inductor.config

# torch keeps the machine code it compiled, and loads it again, from a folder under /tmp that anybody could have made; this one is the user's own. Graphs
# are not kept: one compiled for another stage's shapes first serves this one's too, rounded otherwise, and a result would depend on what ran before it.
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

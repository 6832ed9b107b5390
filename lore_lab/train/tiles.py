"""Smaller tiles of TRL's fused head, for processors: `compute.small_tiles`.

Without Triton TRL folds logits tile by tile with a dozen passes over each, and a tile is 4,096 tokens by the vocabulary: it never stays in a core's
cache. The same sums over fewer tokens at once do. Importing this module sets it for the process; a stage's worker imports it where the config chose it
(lore_lab.stages.graph).
"""

from __future__ import annotations

from trl.kernels import chunked_logprob

TOKENS = 256  #: of a tile: half a megabyte of logits over a vocabulary of 1,024 in bfloat16

if not hasattr(chunked_logprob, "TOKEN_CHUNK_SIZE"):
    raise RuntimeError("compute.small_tiles=true: this TRL has no TOKEN_CHUNK_SIZE; take compute.small_tiles=false")
chunked_logprob.TOKEN_CHUNK_SIZE = TOKENS

"""Bytes a stage holds at its worst moment. Counted from what torch keeps for the backward pass of transformers' Qwen2, Qwen3 and Llama blocks.

After Korthikanti et al. 2205.05198, section 4, with the terms of these blocks (RMSNorm, gated MLP, grouped queries, attention that keeps no
score matrix). Adam after Rajbhandari et al. 1910.02054: gradient and two moments in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from lore_lab.models.shape import Shape
from lore_lab.planner.work import Work

GIB = 2**30


@dataclass(frozen=True)
class Setting:
    """How the numbers are kept. rank, targets: of LoRA; None and [] train every weight. shards: processes that share weights, gradients and
    moments; processes: those that share the sequences of a batch."""

    weight_bytes: int
    compute_bytes: int
    checkpointing: bool
    eager: bool
    rank: int | None
    targets: tuple[str, ...]
    buckets: int = 1  #: groups that a micro-batch goes through the output layer in
    processes: int = 1
    shards: int = 1
    cuda: bool = True

    def trainable(self, shape: Shape) -> int:
        return shape.parameters if self.rank is None else shape.adapter_parameters(self.rank, list(self.targets))


@dataclass(frozen=True)
class Memory:
    """Bytes in one process, by what they are for. moments: name -> all that is there at that moment."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    cache: float
    other: float
    moments: dict[str, float]

    @property
    def peak(self) -> float:
        return max(self.moments.values())


def memory(work: Work, shape: Shape, setting: Setting) -> Memory:
    """Of one stage in one process."""
    trains, trainable = work.micro > 0, setting.trainable(shape)
    whole = shape.parameters * setting.weight_bytes + (0 if setting.rank is None or not trains else trainable * 4)
    weights = whole / setting.shards
    gradients = trainable * 4 / setting.shards if trains else 0.0
    optimizer = 2 * gradients
    # Sharded weights are put together for the block at work and the next one. float32 weights under autocast are cast once a forward pass,
    # and the casts live until its backward pass is done.
    gathered = 2 * shape.block_parameters * setting.weight_bytes if setting.shards > 1 else 0
    casts = shape.parameters * 2 if trains and setting.compute_bytes < setting.weight_bytes else 0
    kept = (work.reference * shape.parameters * setting.weight_bytes + work.watched * trainable * 4) / setting.shards
    activations = float(_kept(work, shape, setting)) if trains else 0.0
    logits = float(_tile(work, shape, setting)) if trains else 0.0
    generating = _generating(work, shape, setting) if work.batch else 0.0
    table = shape.vocab_size * shape.hidden_size * 4 if trains and setting.rank is None else 0  # gradient of the embedding
    held = gradients if work.accumulation > 1 else 0.0
    resident = weights + optimizer + kept
    moments: dict[str, float] = {}
    if trains:
        moments["the loss"] = resident + gathered + casts + held + activations + logits + table
        moments["the optimizer step"] = resident + gradients + max(gradients if setting.cuda else 0, table)  # Adam by foreach on CUDA
    if work.batch:
        moments["generation"] = whole + optimizer + kept + generating  # a sharded model is put together to generate
    return Memory(weights, gradients, optimizer, activations, logits, generating, kept + casts + gathered, moments)


def _tile(work: Work, shape: Shape, setting: Setting) -> int:
    """TRL 1.16 makes logits in tiles of 4096 tokens by 32768 of the vocabulary, again in the backward pass: one tile, turned into its gradient
    in place by Triton on CUDA; in torch, with eight float32 copies at its worst (trl/kernels/chunked_logprob.py)."""
    tokens = min(-(-work.micro // setting.buckets) * work.logits, 4096)
    copies = 0 if setting.cuda else 8 * min(shape.vocab_size, 32768) * 4
    return tokens * (32768 * setting.compute_bytes + copies)


def _kept(work: Work, shape: Shape, setting: Setting) -> int:
    """Activations kept for the backward pass of a micro-batch."""
    block = _block(work.length, shape, setting) * work.length
    layers = shape.num_hidden_layers
    kept = block + layers * work.length * shape.hidden_size * setting.compute_bytes if setting.checkpointing else layers * block
    return work.micro * kept


def _block(length: int, shape: Shape, setting: Setting) -> int:
    """Bytes a token of one block.

    Norms: the input in float32 and its normalised self twice. Attention: queries, keys and values as they go into it, repeated to all heads
    because padded batches need a mask, its output; eager: the scores and the probabilities too. MLP: gate, its activation, up, their product.
    """
    size, hidden, inner, wide = setting.compute_bytes, shape.hidden_size, shape.intermediate_size, shape.query_width
    kept = 2 * (4 * hidden + 2 * size * hidden) + 4 * size * wide + 4 * size * inner
    if shape.architecture == "qwen3":  # norms of queries and keys
        kept += (4 + 2 * size) * (wide + shape.key_width)
    if setting.eager:
        kept += shape.num_attention_heads * length * (4 + size)
    if setting.rank is not None and (setting.weight_bytes, setting.compute_bytes) != (4, 4):
        # Each adapter casts its input to its own type: copies of what the layers would have shared.
        kept += sum(shape.linear()[name][0] for name in setting.targets) * size
    return kept


def _generating(work: Work, shape: Shape, setting: Setting) -> float:
    """Keys and values of a batch at full length, the widest layer of its prompts, the logits of one step in float32 with their copies."""
    batch = -(-work.batch // setting.processes)
    size = setting.weight_bytes
    cache = 2 * shape.num_hidden_layers * shape.key_width * size * batch * work.length
    prompts = batch * work.prompt * (3 * shape.hidden_size + 3 * shape.intermediate_size) * size
    return cache + max(prompts, batch * shape.vocab_size * 4 * 3)

"""Hours of a stage: multiplications for what is computed at once, bytes read for what is generated token by token."""

from __future__ import annotations

from dataclasses import dataclass

from lore_lab.models.shape import Shape
from lore_lab.planner.memory import Setting
from lore_lab.planner.work import Work


@dataclass(frozen=True)
class Gpu:
    """What the estimate stands on; every figure but the memory is `assumed` unless the command gives it.

    memory: GiB. tflops: dense bfloat16 peak. bandwidth: GB/s. utilisation: of the peak, while training. decoding: of the bandwidth, in
    transformers' own generate. reserve: share of the memory for the CUDA context and fragmentation.
    """

    memory: float
    count: int = 1
    tflops: float = 312.0
    bandwidth: float = 2039.0
    utilisation: float = 0.35
    decoding: float = 0.25
    reserve: float = 0.1

    @property
    def usable(self) -> float:
        return self.memory * (1 - self.reserve)


def flops(work: Work, shape: Shape, setting: Setting) -> float:
    """Multiplications and additions of all passes over whole sequences, prompts of rollouts included; 2 a weight and token (2001.08361)."""
    forward = _forward(work.length, work.logits, shape)
    passes = 1 + (2 if setting.rank is None else 1) + setting.checkpointing
    prompt = _forward(work.prompt, 1, shape)
    return work.trained * passes * forward + work.scored * forward + work.generated * prompt


def _forward(length: int, logits: int, shape: Shape) -> float:
    """Of one sequence: linear layers, causal attention, the output layer where logits are made."""
    linear = 2 * shape.num_hidden_layers * sum(width * out for width, out in shape.linear().values()) * length
    attention = 2 * shape.num_hidden_layers * shape.query_width * length * length
    return linear + attention + 2 * shape.vocab_size * shape.hidden_size * logits


def bytes_read(work: Work, shape: Shape, setting: Setting) -> float:
    """By decoding: all weights at each step of each batch, and the keys and values so far (half of the full length on average)."""
    if not work.generated:
        return 0.0
    steps = work.completion * -(-work.generated // work.batch)
    weights = shape.parameters * setting.weight_bytes
    cache = 2 * shape.num_hidden_layers * shape.key_width * setting.weight_bytes * (work.prompt + work.completion / 2)
    return steps * weights + work.generated * work.completion * cache


def hours(work: Work, shape: Shape, setting: Setting, gpu: Gpu) -> float:
    """On all GPUs, which share the sequences; what they tell one another costs nothing here. float32 is taken at 1/8 of the bfloat16 peak (A100: TF32
    off)."""
    peak = gpu.tflops * 1e12 / (1 if setting.compute_bytes == 2 else 8)
    computing = flops(work, shape, setting) / (peak * gpu.utilisation)
    # A step of a batch spread over the GPUs reads the weights on each: only the sequences are shared.
    shared = Work(
        work.stage,
        work.prompt,
        work.completion,
        work.logits,
        generated=-(-work.generated // gpu.count),
        batch=max(1, -(-work.batch // gpu.count)),
    )
    reading = bytes_read(shared, shape, setting) / (gpu.bandwidth * 1e9 * gpu.decoding)
    return (computing / gpu.count + reading) / 3600

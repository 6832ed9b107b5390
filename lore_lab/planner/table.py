"""The plan of a command as a table: bytes and hours of every stage, what does not fit and which words would make it fit, what is assumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from lore_lab.config.compose import compose
from lore_lab.config.errors import ConfigError
from lore_lab.config.schema import Config
from lore_lab.config.validate import problems
from lore_lab.models.shape import KNOWN, Shape, shape_of
from lore_lab.planner.hours import Gpu, hours
from lore_lab.planner.memory import GIB, Memory, Setting, memory
from lore_lab.planner.work import Work, works

#: stages with a model that the planner knows nothing of
_UNPLANNED: dict[str, Callable[[Config], bool]] = {
    "evolve": lambda config: config.instructions.name == "evolved",
    "teacher, student and distill": lambda config: config.distill.enabled,
    "tiers": lambda config: config.deploy.enabled,
}


@dataclass(frozen=True)
class Row:
    """One stage on one GPU, or on one of several that share its sequences (`shared`) or its weights too (`sharded`)."""

    work: Work
    memory: Memory
    hours: float

    @property
    def peak(self) -> float:
        """GiB at the worst moment."""
        return self.memory.peak / GIB


def plan(config: Config, gpu: Gpu, sharded: bool = False) -> list[Row]:
    """Raises ConfigError where nobody gives the model's sizes."""
    shape = shape_for(config)
    setting = setting_of(config, gpu, sharded)
    return [Row(work, memory(work, shape, setting), hours(work, shape, setting, gpu)) for work in works(config)]


def shape_for(config: Config) -> Shape:
    """Raises ConfigError where nobody gives the sizes, BadCheckpoint where a directory's cannot be read."""
    shape = shape_of(config.model)
    if shape is None or shape.architecture not in KNOWN:
        raise ConfigError(
            f"model={config.model.name}: nobody gives the sizes of {config.model.path}; plan a directory with its config.json, one of "
            f"conf/model/, or add model.architecture ({', '.join(KNOWN)}), model.hidden_size, ..."
        )
    return shape


def setting_of(config: Config, gpu: Gpu, sharded: bool = False) -> Setting:
    """How `config` keeps its numbers on such GPUs."""
    weights = 2 if config.model.dtype == "bfloat16" else 4
    low = weights == 2 or config.compute.precision == "bf16"
    lora = config.peft.name != "none"
    return Setting(
        weight_bytes=weights,
        compute_bytes=2 if low else 4,
        checkpointing=config.compute.gradient_checkpointing,
        eager=config.model.attention in ("eager", "grouped"),
        rank=config.peft.rank if lora else None,
        targets=tuple(config.peft.targets) if lora else (),
        buckets=config.compute.length_buckets,
        processes=gpu.count,
        shards=gpu.count if sharded else 1,
    )


def remedies(words: Sequence[str], config: Config, stage: str, gpu: Gpu) -> list[str]:
    """What would make `stage` fit: words to add to the command, each on its own; where none is enough, the fewest that are, one on top of the
    other, the mildest first; and sharding, with all of them where it is not enough by itself."""
    changes = list(_changes(config, stage))
    alone: dict[str, str] = {}
    for change in changes:
        key = change[0].partition("=")[0]
        if key not in alone and _fits([*words, *change], stage, gpu):
            alone[key] = " ".join(change)
    added: dict[str, str] = {}
    for change in changes if not alone else []:
        added |= {word.partition("=")[0]: word for word in change}
        if _fits([*words, *added.values()], stage, gpu):
            alone["together"] = " ".join(added.values())
            break
    found = [*alone.values(), *_sharding(config, stage, gpu)]
    if found or not added:
        return found
    everything = " ".join(added.values())
    return [f"{everything} and {line}" for line in _sharding(compose((*words, *added.values())), stage, gpu)]


def _fits(words: Sequence[str], stage: str, gpu: Gpu) -> bool:
    changed = compose(tuple(words))
    return not problems(changed) and all(row.peak <= gpu.usable for row in plan(changed, gpu) if row.work.stage == stage)


def _changes(config: Config, stage: str) -> Iterator[list[str]]:
    """Override words that need less memory. A smaller micro-batch comes with as much more accumulation: the same batch."""
    if stage in ("sft", "rl"):
        if not config.compute.gradient_checkpointing:
            yield ["compute.gradient_checkpointing=true"]
        own = getattr(config, stage)
        micro, accumulation = own.per_device_train_batch_size, own.gradient_accumulation_steps
        if micro > 1:
            yield [f"{stage}.per_device_train_batch_size=1", f"{stage}.gradient_accumulation_steps={micro * accumulation}"] + (
                [f"rl.steps_per_generation={micro * config.rl.steps_per_generation}"] if stage == "rl" else []
            )
        if config.compute.precision == "fp32":
            yield ["compute.precision=bf16"]
        if config.peft.name == "none":
            yield ["peft=lora"]
    if config.model.dtype == "float32" and config.model.path is not None:
        yield ["model.dtype=bfloat16", *([] if config.peft.name != "none" else ["peft=lora"])]
    if stage == "eval" and config.eval.batch_size > 1:
        yield from ([f"eval.batch_size={config.eval.batch_size // 2**power}"] for power in range(1, config.eval.batch_size.bit_length()))


def _sharding(config: Config, stage: str, gpu: Gpu) -> list[str]:
    """The least number of GPUs over which weights, gradients and moments would have to be sharded."""
    for count in (2, 4, 8, 16, 32, 64):
        if count <= gpu.count:
            continue
        rows = plan(config, dataclasses.replace(gpu, count=count), sharded=True)
        if all(row.peak <= gpu.usable for row in rows if row.work.stage == stage):
            return [f"sharding over {count} GPUs (FSDP)"]
    return []


def show(words: Sequence[str], config: Config, gpu: Gpu) -> Iterator[Table | str]:
    """Tables and lines to print. More than one GPU: each with all weights, then with the weights sharded."""
    kinds = (
        [(False, "one GPU")] if gpu.count == 1 else [(False, "each GPU holds all weights"), (True, "weights, gradients, moments sharded")]
    )
    for sharded, title in kinds:
        rows = plan(config, gpu, sharded)
        table = Table("stage", "weights", "gradients", "Adam", "activations", "logits", "KV, rollout", "other", "peak", "fits", "tokens", "hours", title=f"{gpu.count} x {gpu.memory:g} GiB, {title}")  # fmt: skip
        for row in rows:
            own = row.memory
            parts = (own.weights, own.gradients, own.optimizer, own.activations, own.logits, own.cache, own.other)
            sizes = [f"{part / GIB:.1f}" if part else "-" for part in parts]
            verdict = "yes" if row.peak <= gpu.usable else "no"
            table.add_row(row.work.stage, *sizes, f"{row.peak:.1f}", verdict, f"{row.work.tokens / 1e6:.1f} M", f"{row.hours:.1f}")
        yield table
        for row in rows:
            if row.peak > gpu.usable:
                worst = max(row.memory.moments, key=lambda name: row.memory.moments[name])
                found = [] if sharded else remedies(words, config, row.work.stage, gpu)
                advice = "\n  ".join(found) or "nothing that the planner knows; take a smaller model, shorter prompts or a larger GPU"
                yield f"{row.work.stage} does not fit ({row.peak:.1f} of {gpu.usable:.1f} GiB, at {worst}). What would make it fit:\n  {advice}"
    yield from assumptions(config, gpu)


def assumptions(config: Config, gpu: Gpu) -> Iterator[str]:
    shape = shape_for(config)
    setting = setting_of(config, gpu, False)
    yield (
        f"model: {shape.architecture}, {shape.parameters:,} parameters, {setting.trainable(shape):,} trained ({config.peft.name}), "
        f"weights {config.model.dtype}, computing in {'bfloat16' if setting.compute_bytes == 2 else 'float32'}, "
        f"gradient checkpointing {'on' if setting.checkpointing else 'off'}"
    )
    yield "GiB in each process; every prompt and completion as long as its limit; the peak is the worst of: loss, optimizer step, generation"
    yield (
        f"assumed: {gpu.tflops:g} TFLOP/s bfloat16 peak and {gpu.bandwidth:g} GB/s (A100 80 GB SXM data sheet), {gpu.utilisation:.0%} of the peak in "
        f"training, {gpu.decoding:.0%} of the bandwidth in generation, {gpu.reserve:.0%} of the memory for the CUDA context and fragmentation, "
        "no time for communication, loading and saving; rollouts by transformers, whose sharded weights are put together to generate"
    )
    left_out = [name for name, on in _UNPLANNED.items() if on(config)]
    if left_out:
        yield f"not planned: {', '.join(left_out)}"
    if gpu.count > 1:
        yield "several GPUs share the sequences of every batch: the same batch sizes as on one, micro-batches unchanged"

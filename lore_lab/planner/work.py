"""How much of what each stage of a point does: sequences, tokens, passes. Lengths are the limits, so real runs do less."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from lore_lab.config.inert import one_update
from lore_lab.config.schema import Config


@dataclass(frozen=True)
class Work:
    """One stage. Counts are of sequences of `prompt` + `completion` tokens.

    micro: forwarded and kept for a backward pass at once; 0 for a stage that trains nothing. accumulation: micro-batches an optimizer step.
    logits: positions of a sequence whose logits are made. trained, scored, generated: over the whole stage, with a backward pass, without
    one, sampled. batch: generated at once. reference: a second model is kept. watched: the trained weights as they were are kept.
    """

    stage: str
    prompt: int
    completion: int
    logits: int
    micro: int = 0
    accumulation: int = 1
    trained: int = 0
    scored: int = 0
    generated: int = 0
    batch: int = 0
    reference: bool = False
    watched: bool = False

    @property
    def length(self) -> int:
        return self.prompt + self.completion

    @property
    def tokens(self) -> int:
        """Of all sequences, each time one goes through the model."""
        return (self.trained + self.scored + self.generated) * self.length


def works(config: Config) -> list[Work]:
    """The stages with a model, in the order in which they run."""
    found = [_base(config)] if config.model.path is None else []
    if config.sft.enabled:
        found.append(_sft(config))
    if config.rl.enabled:
        if config.curriculum.difficulty == "measured":
            found.append(_difficulty(config))
        found.append(_rl(config))
    return [*found, _eval(config)]


def _base(config: Config) -> Work:
    settings = config.model.pretrain
    size = settings.per_device_train_batch_size
    return Work("base", settings.block_size, 0, settings.block_size, size, trained=settings.max_steps * size)


def _sft(config: Config) -> Work:
    """Targets are taken to be as long as completions may be. Logits are made where a token has a label."""
    prompt, completion = config.prompt.max_tokens, config.eval.max_completion_length
    micro, accumulation = config.sft.per_device_train_batch_size, config.sft.gradient_accumulation_steps
    return Work("sft", prompt, completion, completion, micro, accumulation, config.sft.max_steps * micro * accumulation)


def _difficulty(config: Config) -> Work:
    count = (config.data.size or 0) * config.curriculum.samples
    return Work("difficulty", config.prompt.max_tokens, config.rl.max_completion_length, 1, generated=count, batch=256)


def _rl(config: Config) -> Work:
    """Every rollout is generated once, scored once more for the ratio where it feeds several updates and the sampler's own log-probs do not
    serve, and once by the reference. What compute.prompts_once saves is not counted."""
    rl = config.rl
    window = rl.per_device_train_batch_size * rl.steps_per_generation
    sampled = config.compute.sampler_log_probs and config.compute.precision == "fp32"
    windows = ceil(rl.max_steps * rl.gradient_accumulation_steps / (rl.steps_per_generation * rl.num_iterations))
    return Work(
        "rl",
        config.prompt.max_tokens,
        rl.max_completion_length,
        rl.max_completion_length,
        rl.per_device_train_batch_size,
        rl.gradient_accumulation_steps,
        trained=rl.max_steps * rl.per_device_train_batch_size * rl.gradient_accumulation_steps,
        scored=windows * window * ((not one_update(config) and not sampled) + (rl.beta > 0)),
        generated=windows * window,
        batch=window,
        reference=rl.beta > 0 and config.peft.name == "none",
        watched=rl.watch.enabled and rl.watch.probe_every > 0 and rl.watch.probe_samples > 0,
    )


def _eval(config: Config) -> Work:
    """Each pair greedily and the sampled ones, then one pass for the label's probabilities; once for each policy evaluated."""
    own = config.eval
    policies = 1 + ("sft" in own.stages and config.sft.enabled and config.rl.enabled)
    greedy = len(own.subsets) * own.size
    sampled = len(own.subsets) * own.sampled_size * own.samples
    return Work(
        "eval", config.prompt.max_tokens, own.max_completion_length, 2, scored=policies * greedy, generated=policies * (greedy + sampled), batch=own.batch_size
    )  # fmt: skip

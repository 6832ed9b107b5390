"""What a step of the RL laboratory costs: all watches, and each idea of ours, against plain GRPO without watches, as ratios within one process.

    python benchmarks/rl_step.py [--windows 10] [--arms watch clip_cov]

Every variant runs the default `rl` settings on a randomly initialised default model and random prompts. Processor seconds of the one thread that
works, for load on the machine lengthens the wall clock; variants take turns window by window, so that what is left of it meets all alike. A window
is a generation batch with its old log-probs and all updates; the first is left out. Ratio: of means, for a probe falls on one window in five; range:
of the ratios of single windows. Bars: 1.10 for every watch on, 1.15 for an idea of ours. Ideas that sample more by design (dynamic_sampling,
guided_replay) are measured at the rate a coin-flip judge sets off: a group is all right or all wrong in 0.8 %, and replayed in 14 % of cases.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bars import bar
from hydra import compose, initialize_config_dir
from transformers import set_seed

from lore_lab.config.overrides import CONF
from lore_lab.config.schema import register
from lore_lab.config.validate import typed
from lore_lab.data.registry import load_source
from lore_lab.prompts.formats import response_format
from lore_lab.rewards.judge import Outcome
from lore_lab.rewards.spans import Spans
from lore_lab.rollout.engine import Engine, Sampling, TransformersEngine
from lore_lab.stages.graph import plain
from lore_lab.train.base import make_model, train_tokenizer
from lore_lab.train.grpo import make_trainer
from lore_lab.train.idea import Material, ProbeSet

LENGTHS = (27, 8, 8, 64)  #: mean, deviation, least and greatest length of a completion under the default settings after SFT
PLAIN = "none"
#: shown name -> override words
WATCHES = {"watch": ["rl.watch.enabled=true"], "watch, no probe": ["rl.watch.enabled=true", "rl.watch.probe_every=0"]}
IDEAS = ("clip_cov", "kl_cov", "dynamic_sampling", "sft_auxiliary", "guided_replay", "stepwise")
OURS = {name: [f"rl.{name}.enabled=true", "rl.watch.enabled=false"] for name in IDEAS}
VARIANTS = {PLAIN: ["rl.watch.enabled=false"]} | WATCHES | OURS
BARS = dict.fromkeys(WATCHES, 1.10) | dict.fromkeys(OURS, 1.15)


@dataclass
class CutEngine(Engine):
    """The real engine; its completions end where a trained policy's would, for a random one goes on to the limit."""

    engine: TransformersEngine
    random: np.random.Generator

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        mean, deviation, least, most = LENGTHS
        rows = self.engine.generate(prompts, sampling)
        lengths = self.random.normal(mean, deviation, len(rows)).round().clip(least, most).astype(int)
        return [[*row[: length - 1], self.engine.end_ids[0]] for row, length in zip(rows, lengths, strict=True)]

    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> tuple[list[list[int]], None]:
        """Cut completions end in a token that was not drawn: their log-probs take a forward pass."""
        return self.generate(prompts, sampling), None

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        return self.engine.score(prompts, choices)


def trainer_of(words: list[str], folder: Path) -> Any:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = typed(compose("config", overrides=[*words, "compute.device=cpu", "rl.max_steps=100000", "rl.save_windows=0"]))
    tokenizer = train_tokenizer(load_source(plain(config)["data"]).texts(2000), config.model.vocab_size)
    set_seed(0)
    model = make_model(config.model, tokenizer)
    engine = CutEngine(TransformersEngine(model, tokenizer.pad_token_id, (tokenizer.eos_token_id,)), np.random.default_rng(0))
    spans = Spans(tokenizer, response_format("reason_first", 4))
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(5, len(tokenizer), (256, config.prompt.max_tokens), generator=generator).tolist()
    material = Material(
        seed=0, config=config.rl, tokenizer=tokenizer, engine=engine, targets=lambda: [(prompt, prompt[: LENGTHS[0]]) for prompt in prompts],
        hinted=lambda example, *_: prompts[example], steps=spans.steps, step_rewards=lambda _, ids: [float(ids[0] % 2)] * 6, deciding=spans.deciding,
        probe=lambda count: ProbeSet(prompts[:count], [0] * count, lambda ids: ids[0] % 4),
    )  # fmt: skip

    def judge(indices: Any, completions: Any) -> list[Outcome]:
        return [Outcome(float(sum(ids) % 2), bool(sum(ids) % 2), True, 0) for ids in completions]

    return make_trainer(
        config.rl, 0, config.compute, model, tokenizer, prompts, list(range(len(prompts))), judge, material, folder
    )  # fmt: skip


def one_window(trainer: Any, number: int) -> float:
    """A generation batch and all its updates, as the trainer's own loop does them; probes at their true rate."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    count = trainer.args.per_device_train_batch_size * trainer.args.steps_per_generation // trainer.num_generations
    rows = [dict(trainer.train_dataset[(number * count + place) % 256]) for place in range(count) for _ in range(trainer.num_generations)]
    updates = trainer.args.steps_per_generation * trainer.num_iterations
    started = time.process_time()
    for _ in range(updates):
        inputs = trainer._prepare_inputs(rows)
        trainer.optimizer.zero_grad()
        trainer._compute_loss(trainer.model, inputs).backward()
        trainer.optimizer.step()
        trainer._step += 1
        for idea in trainer.ideas:
            idea.step(trainer._step)
    trainer._metrics["train"].clear()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=10, help="timed windows; a probe falls on every fifth")
    parser.add_argument("--arms", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        trainers = {
            name: trainer_of(VARIANTS[name], Path(folder) / str(place))
            for place, name in enumerate(dict.fromkeys([PLAIN, *arguments.arms]))
        }
        for trainer in trainers.values():
            trainer.create_optimizer()
        times: dict[str, list[float]] = {name: [] for name in trainers}
        for number in range(arguments.windows + 1):
            for name, trainer in trainers.items():
                seconds = one_window(trainer, number)
                if number:
                    times[name].append(seconds)
    print(f"{'variant':18}{'s a window':>12}{'ratio':>8}{'range':>14}")
    for name, seconds in times.items():
        ratio = statistics.mean(seconds) / statistics.mean(times[PLAIN])
        each = [own / plain for own, plain in zip(seconds, times[PLAIN], strict=True)]
        print(f"{name:18}{statistics.mean(seconds):12.2f}{ratio:8.3f}{min(each):8.2f}-{max(each):.2f}")
        if name in BARS:
            bar(f"RL window of plain GRPO and {name}, CPU, against plain GRPO", ratio, at_most=BARS[name])


if __name__ == "__main__":
    main()

"""What a step of the RL laboratory costs: watches, and each idea of ours, against plain GRPO, as ratios within one process.

    python benchmarks/rl_step.py [--windows 6] [--arms none clip_cov kl_cov]

Every arm runs the default `rl` settings on a randomly initialised default model and random prompts; arms take turns window by window, so that
load on the machine meets all of them alike. Seconds a window (generation, old log-probs, updates), mean over windows; the first is left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from transformers import set_seed

from lore_lab.config.overrides import CONF
from lore_lab.config.schema import register
from lore_lab.config.validate import typed
from lore_lab.prompts.formats import response_format
from lore_lab.rewards.judge import Outcome
from lore_lab.rewards.spans import Spans
from lore_lab.rollout.engine import TransformersEngine
from lore_lab.train.base import make_model, train_tokenizer
from lore_lab.train.grpo import make_trainer
from lore_lab.train.idea import Material, ProbeSet

TEXT = (
    "query: red dress\ntitle: blue summer dress\njudge:\nneeds: category dress\npath: category match, colour miss\nrules: none\nanswer: 2\n"
)
#: shown name -> override words
VARIANTS = {
    "none": ["rl.watch.enabled=false"],
    "watch": ["rl.watch.enabled=true", "rl.watch.probe_every=0"],
    "watch and probe": ["rl.watch.enabled=true", "rl.watch.probe_every=48"],
} | {name: [f"rl/entropy={name}", "rl.watch.enabled=false"] for name in ("clip_cov", "kl_cov", "sft_aux")}


def trainer_of(words: list[str], folder: Path) -> Any:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = typed(compose("config", overrides=[*words, "compute.device=cpu", "rl.max_steps=100000", "rl.save_windows=0"]))
    tokenizer = train_tokenizer([TEXT] * 8, config.model.vocab_size)
    set_seed(0)
    model = make_model(config.model, tokenizer)
    engine = TransformersEngine(model, tokenizer.pad_token_id, (tokenizer.eos_token_id,), config.compute.generation_rounds)
    spans = Spans(tokenizer, response_format("reason_first", 4))
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(5, len(tokenizer), (256, 80), generator=generator).tolist()
    material = Material(
        seed=0, config=config.rl, tokenizer=tokenizer, engine=engine, targets=lambda: [(prompt, prompt[:40]) for prompt in prompts],
        hinted=lambda *_: None, steps=spans.steps, step_rewards=lambda *_: [], deciding=spans.deciding,
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
    started = time.perf_counter()
    for _ in range(updates):
        inputs = trainer._prepare_inputs(rows)
        trainer.optimizer.zero_grad()
        trainer._compute_loss(trainer.model, inputs).backward()
        trainer.optimizer.step()
        trainer._step += 1
        for idea in trainer.ideas:
            idea.step(trainer._step)
    trainer._metrics["train"].clear()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=6, help="timed windows; a probe falls on every sixth under the default settings")
    parser.add_argument("--arms", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        trainers = {
            name: trainer_of(VARIANTS[name], Path(folder) / str(place))
            for place, name in enumerate({"none": 0, **dict.fromkeys(arguments.arms)})
        }
        for trainer in trainers.values():
            trainer.create_optimizer()
        times: dict[str, list[float]] = {name: [] for name in trainers}
        for number in range(arguments.windows + 1):
            for name, trainer in trainers.items():
                seconds = one_window(trainer, number)
                if number:
                    times[name].append(seconds)
    plain = statistics.mean(times["none"])
    print(f"{'arm':18}{'s a window':>12}{'ratio':>8}")
    for name, seconds in times.items():
        print(f"{name:18}{statistics.mean(seconds):12.2f}{statistics.mean(seconds) / plain:8.2f}")


if __name__ == "__main__":
    main()

"""Trains the same small cases in one and in two processes at the same global batch and writes what came out, for test_ranks.py.

    python -m tests.train.equivalence FILE CASE...

A program of its own, because ranks are forks of a process that has computed nothing yet. Sampling takes its randomness from the row, not from the
process: in training each rank has a random stream of its own, so that other completions are drawn; everything after them is what is compared.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from lore_lab.rollout.engine import Engine, Sampling
from lore_lab.stages.context import StageContext
from lore_lab.stages.ranks import NoCurves, run_ranks
from lore_lab.train.base import make_model, train_tokenizer
from lore_lab.train.common import prepare
from lore_lab.train.pass_rate_window import PassRateWindow
from lore_lab.train.sft import train_sft

from . import lab

#: two optimizer steps a generation batch, each over all of it: which rows share a smaller step depends on who holds them
WINDOW = [
    "rl.steps_per_generation=2",
    "rl.gradient_accumulation_steps=2",
    "rl.num_iterations=2",
    "rl.max_steps=4",
    "compute.length_buckets=2",
]
ONE_BATCH = ["rl.steps_per_generation=1", "rl.gradient_accumulation_steps=1"]
WATCH = "rl.watch.enabled=true"


class RowEngine(Engine):
    """Samples row by row by the Gumbel trick, with noise from the prompt, the copy of it and the place."""

    def __init__(self, model: Any, end: int) -> None:
        self.model, self.end = model, end

    @torch.no_grad()
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        seen: dict[tuple[int, ...], int] = {}
        rows = []
        for prompt in map(tuple, prompts):
            seen[prompt] = copy = seen.get(prompt, -1) + 1
            rows.append(self._row(list(prompt), copy, sampling))
        return rows

    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> tuple[list[list[int]], None]:
        return self.generate(prompts, sampling), None

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        raise NotImplementedError

    def _row(self, ids: list[int], copy: int, sampling: Sampling) -> list[int]:
        prompt = len(ids)
        generator = torch.Generator().manual_seed(sum(place * token for place, token in enumerate(ids, start=1)) * 1009 + copy)
        while len(ids) < prompt + sampling.max_tokens and (len(ids) == prompt or ids[-1] != self.end):
            logits = self.model(input_ids=torch.tensor([ids])).logits[0, -1]
            noise = -torch.log(-torch.log(torch.rand(logits.shape, generator=generator)))
            ids = [*ids, int((logits / max(sampling.temperature, 1e-3) + noise * bool(sampling.temperature)).argmax())]
        return ids[prompt:]


def rl(*words: str, window: bool = False) -> Callable[[StageContext], dict[str, Any]]:
    def run(context: StageContext) -> dict[str, Any]:
        processes = context.config["processes"]
        size = [f"rl.per_device_train_batch_size={8 // processes}", f"compute.processes={processes}"]
        folder = context.work / str(context.rank)
        folder.mkdir()
        sampler = PassRateWindow(lab.EXAMPLES, 2, 4, 4, 4, 4, [0.01, 0.9], 0.5, seed=1) if window else None
        trainer = lab.make(folder, *WINDOW, *words, *size, sampler=sampler, engine=lambda model, end: RowEngine(model, end))
        trainer.train()
        logs = [{name: entry.get(name) for name in sorted(entry) if "time" not in name} for entry in trainer.state.log_history[:-1]]
        return {"logs": logs, "weights": weights(trainer.model), "visited": trainer.realised}

    return run


def sft(context: StageContext) -> dict[str, Any]:
    processes = context.config["processes"]
    settings = lab.config(
        "sft.max_steps=4", f"sft.per_device_train_batch_size={8 // processes}", "sft.gradient_accumulation_steps=2", "compute.length_buckets=2",
        f"compute.processes={processes}",
    )  # fmt: skip
    prepare("cpu", 1)
    tokenizer = train_tokenizer(["red dress match miss needs path answer: 1 2 3 4\n"] * 4, settings.model.vocab_size)
    set_seed(7)
    model = make_model(settings.model, tokenizer)
    prompts = [[20 + number, 40, 41][: 2 + number % 2] for number in range(32)]
    targets = [[50 + number % 7] * (1 + number % 5) for number in range(32)]
    logs: list[dict[str, Any]] = []
    train_sft(
        settings.sft, 0, settings.compute, model, tokenizer, prompts, targets, context.work,
        lambda step, numbers: logs.append(dict(numbers)), lambda *_: None,
    )  # fmt: skip
    return {"logs": logs, "weights": weights(model), "visited": []}


def weights(model: Any) -> list[float]:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).tolist()


CASES: dict[str, Callable[[StageContext], dict[str, Any]]] = {
    "sft": sft,
    "plain": rl(),
    "watched": rl(WATCH, "rl.watch.probe_every=0"),
    "kl": rl("rl.beta=0.1", "rl.loss_type=grpo"),
    "pass_rate_window": rl("curriculum=pass_rate_window", window=True),
    "guided_replay": rl("rl.guided_replay.enabled=true", "rl.guided_replay.trigger=0.4", WATCH, "rl.watch.probe_every=0"),
    "guided_replay_importance": rl(
        "rl.guided_replay.enabled=true", "rl.guided_replay.trigger=0.4", "rl.guided_replay.correction=importance"
    ),
    "replay_and_auxiliary": rl(
        "rl.guided_replay.enabled=true", "rl.guided_replay.trigger=0.4", "rl/entropy=sft_aux", WATCH, "rl.watch.probe_every=0"
    ),
    "sft_auxiliary": rl("rl/entropy=sft_aux"),
    "sft_auxiliary_adaptive": rl("rl/entropy=sft_aux_adaptive"),
    "clip_cov": rl("rl/entropy=clip_cov"),
    "kl_cov": rl("rl/entropy=kl_cov"),
    "stepwise": rl("rl.stepwise.enabled=true"),
    # Its threshold is over the tokens of a micro-batch: with one a window they are the same tokens.
    "top_entropy": rl("rl/entropy=top_entropy", *ONE_BATCH),
}


def one(case: str, processes: int, folder: str) -> None:
    def die(text: str) -> None:
        raise SystemExit(text)

    work = Path(folder) / f"{case}-{processes}"
    work.mkdir()
    context = StageContext({"processes": processes}, {}, work, work, NoCurves(), lambda *_: None)
    result = run_ranks(CASES[case], context, processes, die)
    (Path(folder) / f"{case}-{processes}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        results = {}
        for chosen in sys.argv[2:]:
            for count in (1, 2):
                process = multiprocessing.get_context("fork").Process(target=one, args=(chosen, count, name))
                process.start()
                process.join(120)
                process.kill()
                file = Path(name) / f"{chosen}-{count}.json"
                results.setdefault(chosen, {})[count] = json.loads(file.read_text()) if file.exists() else None
        Path(sys.argv[1]).write_text(json.dumps(results))

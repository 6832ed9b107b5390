"""Stage `rl`: the policy samples, verifiable rewards judge, GRPO updates."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lore_lab.prompts.hint import ALLOWANCE
from lore_lab.rewards.judge import Judge, Outcome
from lore_lab.rollout.choose import Place, choose_engine
from lore_lab.rollout.engine import end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs, instructions
from lore_lab.stages.functions.material import make_material, reader
from lore_lab.stages.store import write_json
from lore_lab.train.common import adapted, load_policy, prepare, save_policy, stage_seed
from lore_lab.train.curriculum import order
from lore_lab.train.grpo import prompts_needed, prompts_per_window, repeats_per_window, train_grpo


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    pairs = Pairs.read(context.inputs["data"])
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    model = adapted(model, settings.peft, stage_seed(settings.seed, "rl adapter"))
    ends = end_ids(model, tokenizer.eos_token_id)
    tokens = settings.prompt.max_tokens + ALLOWANCE + settings.rl.max_completion_length
    engine = choose_engine(Place(settings, model, tokenizer, ends, tokens, context.work, context.shared, trains=True))
    renderer, layout = pairs.renderer(settings, tokenizer, head=instructions(context)), pairs.layout(settings)
    examples = [example for _, example in pairs.rows]
    difficulty = _difficulty(context, examples)
    visited, sampler = _order(settings, difficulty, pairs.grades)
    rendered = {index: renderer.ids(examples[index]) for index in sorted(set(visited))}
    judge = Judge(settings.reward, layout, settings.rl.max_completion_length, reader(tokenizer, ends, layout))

    def judged(indices: Sequence[int], completions: Sequence[list[int]]) -> list[Outcome]:
        return [judge.outcome(examples[index], ids) for index, ids in zip(indices, completions, strict=True)]

    material = make_material(context, pairs, tokenizer, engine, ends)
    realised = train_grpo(
        settings.rl, settings.seed, settings.compute, model, tokenizer, [rendered[index] for index in visited], visited, judged, material,
        context.work, context.curves.log, context.progress, sampler,
    )  # fmt: skip
    if context.rank:
        return {}
    save_policy(model, tokenizer, context.output, on=context.inputs["policy"].path)
    content = {"examples": [examples[index].id for index in realised], "difficulty": [float(difficulty[index]) for index in realised]}
    write_json(context.output / "order.json", content)
    return {"prompts_visited": len(realised), "epochs": len(realised) / len(examples)} | renderer.report()


def _difficulty(context: StageContext, examples: Sequence[Any]) -> list[float]:
    """The source's own grade, or 1 - the pass rate that stage `difficulty` measured."""
    if "difficulty" not in context.inputs:
        return [example.difficulty for example in examples]
    table = pq.read_table(context.inputs["difficulty"].path / "pass_rates.parquet")
    rates = dict(zip(table["example_id"].to_pylist(), table["pass_rate"].to_pylist(), strict=True))
    return [1.0 - rates[example.id] for example in examples]


def _order(settings: Any, difficulty: Sequence[float], grades: int) -> tuple[list[int], Any]:
    """(indices of the examples as rows of the dataset, the sampler that orders them; None: the rows' own order)."""
    curriculum, rl = settings.curriculum, settings.rl
    seed, needed = stage_seed(settings.seed, "order"), prompts_needed(rl, settings.compute.processes)
    if curriculum.name != "pass_rate_window":
        return order(curriculum.name, difficulty, needed, seed, curriculum.pools, curriculum.replay), None
    window = importlib.import_module("lore_lab.train.pass_rate_window").PassRateWindow
    prompts = prompts_per_window(rl, settings.compute.processes)
    if prompts > len(difficulty):
        raise ValueError(f"curriculum=pass_rate_window: a generation batch takes {prompts} prompts, data.size gives {len(difficulty)}")
    known = 1.0 - np.asarray(difficulty) if curriculum.difficulty == "measured" else None
    sampler = window(
        len(difficulty), needed // prompts, prompts, rl.num_generations, repeats_per_window(rl), grades, curriculum.window, curriculum.memory,
        seed, None if known is None else known.tolist(),
    )  # fmt: skip
    return list(range(len(difficulty))), sampler

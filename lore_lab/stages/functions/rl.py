"""Stage `rl`: the policy samples, verifiable rewards judge, GRPO updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lore_lab.evaluate.predict import read_completion
from lore_lab.rewards.label import reward
from lore_lab.rollout.engine import end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs
from lore_lab.stages.store import write_json
from lore_lab.train.common import load_policy, prepare, save_policy, stage_seed
from lore_lab.train.curriculum import order
from lore_lab.train.grpo import prompts_needed, train_grpo


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    pairs = Pairs.read(context.inputs["data"])
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    renderer, layout = pairs.renderer(settings, tokenizer), pairs.layout(settings)
    examples = [example for _, example in pairs.rows]
    needed = prompts_needed(settings.rl)
    visited = order(settings.curriculum.name, [example.difficulty for example in examples], needed, stage_seed(settings.seed, "order"))
    rendered = {index: renderer.ids(examples[index]) for index in sorted(set(visited))}
    ends = end_ids(model, tokenizer.eos_token_id)

    def judge(indices: Sequence[int], completions: Sequence[list[int]]) -> list[float]:
        rewards = []
        for index, ids in zip(indices, completions, strict=True):
            _, parsed = read_completion(ids, tokenizer, ends, layout)
            rewards.append(reward(settings.reward.name, settings.reward.invalid, parsed, examples[index].label, pairs.grades))
        return rewards

    train_grpo(
        settings.rl, settings.seed, settings.compute, model, tokenizer, [rendered[index] for index in visited], visited, judge,
        context.work, context.curves.log, context.progress,
    )  # fmt: skip
    save_policy(model, tokenizer, context.output)
    difficulty = [examples[index].difficulty for index in visited]
    write_json(context.output / "order.json", {"examples": [examples[index].id for index in visited], "difficulty": difficulty})
    return {"prompts_visited": len(visited), "epochs": len(visited) / len(examples)} | renderer.report()

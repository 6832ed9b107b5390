"""Stage `dpo`: the policy answers training pairs, and learns to prefer the right answer in its beam to the wrong one it gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from lore_lab.data.example import Example
from lore_lab.prompts.formats import Parsed
from lore_lab.prompts.reading import read_completion
from lore_lab.rollout.engine import Engine, Sampling, TransformersEngine, end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs, instructions
from lore_lab.train.common import adapted, load_policy, prepare, save_policy, stage_seed
from lore_lab.train.dpo import Preference, train_dpo

BATCH = 256  #: completions decoded at once
Grade = Callable[[Sequence[int]], int | None]  #: completion ids -> the grade they state, None where invalid


class Found(NamedTuple):
    """An error of the policy whose right label its beam holds. example: its place among those answered. place: of the first completion with that label, 1 the best."""

    example: int
    pair: Preference
    place: int


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    config = settings.dpo
    prepare(settings.compute.device, settings.compute.threads)
    pairs = Pairs.read(context.inputs["data"])
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    renderer = pairs.renderer(settings, tokenizer, head=instructions(context))
    ends = end_ids(model, tokenizer.eos_token_id)
    engine = TransformersEngine(model, tokenizer.pad_token_id, ends, settings.compute.generation_rounds, settings.compute.prompts_once)
    layout = pairs.layout(settings)
    examples = [example for _, example in pairs.rows[: config.examples]]
    prompts = [renderer.ids(example) for example in examples]

    def read(ids: Sequence[int]) -> tuple[str, Parsed]:
        return read_completion(ids, tokenizer, ends, layout)

    errors, found = preferences(examples, prompts, engine, lambda ids: read(ids)[1].grade, config, context.progress)
    if not found:
        raise ValueError(
            f"dpo: {len(examples)} training pairs gave {errors} {config.errors} errors, and the right label of none of them in a beam of "
            f"{config.beams}: nothing to learn from. Take more dpo.examples, dpo.errors=all, wider dpo.beams or dpo.pairs_from=all"
        )
    own = [examples[one.example] for one in found]
    table = pd.DataFrame({name: [getattr(example, name) for example in own] for name in ("id", "query", "label", "gold")}).assign(
        place=[one.place for one in found],
        chosen=[read(one.pair.chosen_ids)[0] for one in found],
        rejected=[read(one.pair.rejected_ids)[0] for one in found],
    )
    table.to_parquet(context.output / "pairs.parquet", index=False)
    model = adapted(model, settings.peft, stage_seed(settings.seed, "dpo adapter"))
    train_dpo(
        config, settings.seed, settings.compute, model, tokenizer, [one.pair for one in found], context.work, context.curves.log,
        context.progress,
    )  # fmt: skip
    save_policy(model, tokenizer, context.output, on=context.inputs["policy"].path)
    seen = config.max_steps * config.per_device_train_batch_size * config.gradient_accumulation_steps
    return {
        "examples": len(examples),
        "errors": errors,
        "pairs": len(found),
        "in_beam": len(found) / errors,
        "chosen_wrong": sum(example.label != example.gold for example in own) / len(own),
        "epochs": seen / len(found),
    } | renderer.report()


def preferences(
    examples: Sequence[Example],
    prompts: Sequence[list[int]],
    engine: Engine,
    grade: Grade,
    config: Any,
    report: Callable[[int, int, str], None],
) -> tuple[int, list[Found]]:
    """(errors of the policy, those that make a pair). Right is the observed label: a user has no other.

    The rejected completion is the greedy one, a valid answer with a wrong label, or with `errors: optimistic` one above the right one; the chosen
    one is the most probable completion of the beam that has the right label.
    """
    answers: dict[int, list[int]] = {}
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))  # like lengths share a batch
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        given = engine.generate([prompts[index] for index in batch], Sampling(0.0, config.max_completion_length))
        answers |= dict(zip(batch, given, strict=True))
        report(start + len(batch), len(order), "answers")
    wrong = [index for index in order if _is_error(grade(answers[index]), examples[index].label, config.errors)]
    found = []
    step = max(1, BATCH // config.beams)
    for start in range(0, len(wrong), step):
        batch = wrong[start : start + step]
        beams = engine.beams([prompts[index] for index in batch], config.beams, config.max_completion_length)
        for index, beam in zip(batch, beams, strict=True):
            place = next((place for place, ids in enumerate(beam) if grade(ids) == examples[index].label), None)
            if place is not None:
                found.append(Found(index, Preference(prompts[index], beam[place], answers[index]), place + 1))
        report(start + len(batch), len(wrong), "beams")
    return len(wrong), sorted(found)


def _is_error(stated: int | None, right: int, errors: str) -> bool:
    if stated is None:
        return False
    return stated > right if errors == "optimistic" else stated != right

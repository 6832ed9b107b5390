"""What stage `rl` hands to the ideas: functions over its pairs. Each is called only by ideas that need it."""

from __future__ import annotations

import copy
import importlib
import random
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from lore_lab.data.example import Example, Source
from lore_lab.prompts.formats import Parsed, ResponseFormat
from lore_lab.prompts.hint import ALLOWANCE, HintedRenderer, hint_lines
from lore_lab.prompts.reading import read_completion
from lore_lab.rewards.spans import Spans
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs, instructions, taught
from lore_lab.train.common import stage_seed
from lore_lab.train.idea import Material, ProbeSet

_PROBE_POOL = 8  #: pairs looked at for one that is probed
_PROBE_GROUPS: dict[str, Callable[[Example], bool]] = {
    "tail": lambda example: example.frequency == "tail",
    "rule": lambda example: example.capability == "rule",
}


def reader(tokenizer: Any, ends: Sequence[int], layout: ResponseFormat) -> Callable[[Sequence[int]], tuple[str, Parsed]]:
    """Completion ids -> (text, its reading)."""
    return lambda ids: read_completion(ids, tokenizer, ends, layout)


def probe_pairs(source: Source, count: int) -> tuple[list[Example], dict[str, list[int]]]:
    """(`count` pairs, name of each group in `_PROBE_GROUPS` that occurs -> positions), from the source's first validation pairs.

    The four combinations of the groups give a pair in turn as far as they go, so that neither group is left to chance; a source that
    knows neither gives its first pairs. Fewer, or none, where the split is shorter.
    """
    size = source.size("validation")
    stop = _PROBE_POOL * count if size is None else min(_PROBE_POOL * count, size)
    pool = list(source.examples("validation", 0, stop)) if stop else []
    kinds = [tuple(test(example) for test in _PROBE_GROUPS.values()) for example in pool]
    combinations = ([place for place, kind in enumerate(kinds) if kind == wanted] for wanted in sorted(set(kinds)))
    turns = [place for turn in zip_longest(*combinations) for place in turn if place is not None]
    chosen = [pool[place] for place in sorted(turns[:count])]
    groups = {name: [place for place, example in enumerate(chosen) if test(example)] for name, test in _PROBE_GROUPS.items()}
    return chosen, {name: places for name, places in groups.items() if places}


def make_material(context: StageContext, pairs: Pairs, tokenizer: Any, engine: Any, ends: Sequence[int]) -> Material:
    settings, layout = context.settings, pairs.layout(context.settings)
    examples = [example for _, example in pairs.rows]
    spans, read = Spans(tokenizer, layout), reader(tokenizer, ends, layout)
    head = instructions(context)
    renderer = pairs.renderer(settings, tokenizer, head=head)

    def targets() -> list[tuple[list[int], list[int]]]:
        """As stage `sft` writes them, in another wording. Imported by name: only this idea's stage key covers the recipes."""
        build_recipe = importlib.import_module("lore_lab.cot").build_recipe
        recipe = build_recipe(settings.cot, pairs.source["name"], pairs.guide.rules, taught(context))
        target_ids = importlib.import_module("lore_lab.train.sft").target_ids
        generator = random.Random(stage_seed(settings.seed, "auxiliary"))
        rows = []
        for example in filter(recipe.covers, examples):
            reasoning = recipe.reasoning(example, generator) if layout.reasons else ""
            rows.append((renderer.ids(example), target_ids(tokenizer, layout.render(example.label, reasoning))))
        return rows

    def probe(count: int) -> ProbeSet:
        source = importlib.import_module("lore_lab.data.registry").load_source(context.config["data"])
        chosen, groups = probe_pairs(source, count)
        prompts, gold = [renderer.ids(example) for example in chosen], [example.gold for example in chosen]
        return ProbeSet(prompts, gold, lambda ids: read(ids)[1].grade, groups)

    def hinted(index: int, what: str, placement: str) -> list[int] | None:
        facts = examples[index].facts
        if facts is None:
            return None
        roomier = copy.deepcopy(settings)
        roomier.prompt.max_tokens += ALLOWANCE
        hint = tuple(hint_lines(facts, what))
        return pairs.renderer(roomier, tokenizer, HintedRenderer, head=head, hint=hint, placement=placement).ids(examples[index])

    def step_rewards(index: int, ids: Sequence[int]) -> list[float]:
        module = importlib.import_module("lore_lab.rewards.steps")
        rewards: list[float] = module.step_rewards(read(ids)[1], examples[index])
        return rewards

    return Material(
        seed=stage_seed(settings.seed, "ideas"), config=settings.rl, tokenizer=tokenizer, engine=engine, targets=targets, hinted=hinted,
        steps=spans.steps, step_rewards=step_rewards, deciding=spans.deciding, probe=probe,
    )  # fmt: skip

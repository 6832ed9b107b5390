"""Stage `eval`: a policy on the test pairs, greedy and sampled; predictions as a table, metrics in the manifest."""

from __future__ import annotations

from collections import Counter
from typing import Any

from transformers import set_seed

from lore_lab.data.registry import load_source
from lore_lab.evaluate.metrics import summarise
from lore_lab.evaluate.predict import Pair, predict
from lore_lab.evaluate.probabilities import with_probabilities
from lore_lab.evaluate.rules import Book, with_open_grades
from lore_lab.rollout.engine import Sampling, TransformersEngine, end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs
from lore_lab.train.common import load_policy, prepare, stage_seed


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    bench = Pairs.read(context.inputs["bench"])
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    renderer, layout = bench.renderer(settings, tokenizer), bench.layout(settings)
    position: Counter[str] = Counter()
    pairs = []
    for subset, example in bench.rows:
        pairs.append(Pair(example, subset, renderer.ids(example), sampled=position[subset] < settings.eval.sampled_size))
        position[subset] += 1
    seed = stage_seed(settings.seed, "eval")
    set_seed(seed)
    ends = end_ids(model, tokenizer.eos_token_id)
    engine = TransformersEngine(model, tokenizer.pad_token_id, ends, settings.compute.generation_rounds, settings.compute.prompts_once)
    sampling = Sampling(settings.eval.temperature, settings.eval.max_completion_length)
    table = predict(
        pairs, engine, tokenizer, ends, layout, sampling, settings.eval.samples, settings.eval.batch_size, context.progress
    )  # fmt: skip
    prompts = {pair.example.id: pair.prompt for pair in pairs}
    table = with_probabilities(table, prompts, engine, tokenizer, layout, settings.eval.batch_size, context.progress)
    table = with_open_grades(table, (pair.example for pair in pairs), _rule_book(context, pairs), bench.grades)
    table.to_parquet(context.output / "predictions.parquet", index=False)
    metrics = summarise(table, bench.grades, bench.source["relevant_from"], settings.eval.resamples, seed)
    problems = table[table["mode"] == "greedy"]["problem"].value_counts().sort_index()
    return metrics | {f"invalid/{problem}": int(count) for problem, count in problems.items()} | renderer.report()


def _rule_book(context: StageContext, pairs: list[Pair]) -> Book | None:
    """The source's rule book; None where no rule fired on any pair, as in tables of ratings, which are not opened for it."""
    if not any(pair.example.facts and pair.example.facts.rules for pair in pairs):
        return None
    return getattr(load_source(context.config["data"]), "book", None)

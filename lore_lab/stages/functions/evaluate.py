"""Stage `eval`: a policy on the test pairs, greedy and sampled; predictions as a table, metrics in the manifest."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pandas as pd
from transformers import set_seed

from lore_lab.data.registry import load_source
from lore_lab.evaluate.calibration import fit_temperature, tempered
from lore_lab.evaluate.decode import DECODE, Policy
from lore_lab.evaluate.metrics import CALIBRATED, PROBABILITY, summarise
from lore_lab.evaluate.predict import Pair, beam_answers
from lore_lab.evaluate.probabilities import label_prior, prior_corrected
from lore_lab.evaluate.rules import Book, with_open_grades
from lore_lab.rollout.choose import Place, choose_engine, model_device
from lore_lab.rollout.engine import Sampling, end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs
from lore_lab.stages.functions.validation import validation_pairs
from lore_lab.stages.store import write_json
from lore_lab.train.common import load_policy, prepare, stage_seed


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    bench = Pairs.read(context.inputs["bench"])
    model, tokenizer = load_policy(context.inputs["policy"].path, model_device(settings))
    renderer, layout = bench.seeing_renderer(context, tokenizer, model), bench.layout(settings)
    position: Counter[str] = Counter()
    pairs = []
    for subset, example in bench.rows:
        pairs.append(Pair(example, subset, renderer.ids(example), sampled=position[subset] < settings.eval.sampled_size))
        position[subset] += 1
    ends = end_ids(model, tokenizer.eos_token_id)
    tokens = settings.prompt.max_tokens + settings.eval.max_completion_length
    engine = choose_engine(Place(settings, model, tokenizer, ends, tokens, context.work, context.shared))
    seed = stage_seed(settings.seed, "eval")
    sampling = Sampling(settings.eval.temperature, settings.eval.max_completion_length)
    policy = Policy(engine, tokenizer, ends, layout, settings.eval.batch_size, context.progress)
    ask = partial(DECODE[settings.eval.decode], policy, sampling=sampling, samples=settings.eval.samples, seed=seed)
    set_seed(seed)
    table = ask(pairs)
    if settings.eval.calibrate:
        unseen = validation_pairs(context, settings.eval.calibrate, "eval.calibrate")
        known = ask([Pair(example, "validation", renderer.ids(example), sampled=False) for example in unseen])
        table, temperature = calibrated(table, known, bench.grades)
        write_json(context.output / "temperature.json", {"temperature": temperature, "pairs": len(unseen)})
    if settings.eval.beams:
        beams = beam_answers(
            pairs, engine, tokenizer, ends, layout, settings.eval.beams, settings.eval.max_completion_length, settings.eval.batch_size,
            context.progress,
        )  # fmt: skip
        table = pd.concat([table, beams.assign(scored=False)], ignore_index=True)
    changed = {}
    if settings.eval.prior_correction:
        trained_on = [example.label for _, example in Pairs.read(context.inputs["data"]).rows]
        table = prior_corrected(table, label_prior(trained_on, bench.grades))
        changed = {"corrected": float((table["predicted"] != table["answered"])[table["mode"] == "greedy"].mean())}
    table = with_open_grades(table, (pair.example for pair in pairs), _rule_book(context, pairs), bench.grades)
    table.to_parquet(context.output / "predictions.parquet", index=False)
    metrics = changed | summarise(table, bench.grades, bench.source["relevant_from"], settings.eval.resamples, seed)
    metrics |= {"temperature": temperature} if settings.eval.calibrate else {}
    problems = table[table["mode"] == "greedy"]["problem"].value_counts().sort_index()
    return metrics | {f"invalid/{problem}": int(count) for problem, count in problems.items()} | renderer.report()


def _rule_book(context: StageContext, pairs: list[Pair]) -> Book | None:
    """The source's rule book; None where no rule fired on any pair, as in tables of ratings, which are not opened for it."""
    if not any(pair.example.facts and pair.example.facts.rules for pair in pairs):
        return None
    return getattr(load_source(context.config["data"]), "book", None)


def calibrated(table: pd.DataFrame, known: pd.DataFrame, grades: int) -> tuple[pd.DataFrame, float]:
    """(`table` with columns calibrated/1 .., the temperature fitted on the scored rows of `known`). Fitted on observed labels, for a user
    has no others; what it is worth is measured on gold ones. Raises ValueError where no row of `known` is scored."""
    columns = [f"{PROBABILITY}{grade + 1}" for grade in range(grades)]
    scored = known[known["scored"]]
    if not len(scored):
        raise ValueError("eval.calibrate: no validation pair got a valid answer, so there is nothing to fit a temperature on")
    temperature = fit_temperature(scored["label"].to_numpy(), scored[columns].to_numpy())
    after = tempered(table[columns].to_numpy(), temperature)
    return table.assign(**{f"{CALIBRATED}{grade + 1}": after[:, grade] for grade in range(grades)}), temperature

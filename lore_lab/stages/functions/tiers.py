"""Stage `tiers`: what cache, ranker and LLM say of the candidates of queries by rank, with the artifacts that serve them.

The LLM judges the first training pairs, from which the ranker is distilled, and the queries' candidates, with which the cache is filled. Both
are then read back from disk: what is measured is what would be served. Seconds are measured here and go into latency.json, never into metrics.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lore_lab.data.example import Example
from lore_lab.data.frame import write_examples
from lore_lab.data.registry import load_source
from lore_lab.deploy.cache import STATES, AnswerCache, answers_version, fill, pair_key
from lore_lab.deploy.judge import LabelJudge
from lore_lab.deploy.ranker import Ranker, fit
from lore_lab.deploy.traffic import asked_queries, judged_ranks
from lore_lab.evaluate.metrics import PROBABILITY
from lore_lab.rollout.engine import TransformersEngine, end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs, instructions
from lore_lab.stages.functions.data import EXAMPLES, copy_description
from lore_lab.stages.store import write_json
from lore_lab.train.common import load_policy, prepare

ANSWERS, CACHE, LATENCY, IDENTITY = "answers.parquet", "cache.sqlite", "latency.json", "identity.json"


def run(context: StageContext) -> dict[str, Any]:
    settings, deploy = context.settings, context.settings.deploy
    prepare(settings.compute.device, settings.compute.threads)
    train = Pairs.read(context.inputs["data"])
    head = instructions(context)
    judge, renderer = load_judge(context.inputs["policy"].path, settings, train, head)
    fields, query_fields = settings.features.fields, settings.features.query_fields
    taught = [example for _, example in train.rows[: deploy.distill_pairs]]
    answers = judge.answers([renderer.ids(example) for example in taught], context.progress)
    valid = np.flatnonzero(~np.isnan(answers.probabilities[:, 0]))
    chosen = [taught[place] for place in valid]
    fit(chosen, answers.probabilities[valid], fields, query_fields, deploy.ranker_bits, deploy.ranker_penalty).save(context.output)
    ranker = Ranker.load(context.output)

    queries = asked_queries(load_source(context.config["data"]), deploy.candidates)
    ranks = judged_ranks(queries.ranks, deploy.judged)
    lists = [queries.pairs(int(rank)) for rank in ranks]
    pairs = [example for own in lists for example in own]
    judged = judge.answers([renderer.ids(example) for example in pairs], context.progress)
    small = ranker.probabilities(pairs)
    known = ~np.isnan(judged.probabilities[:, 0])
    version = answers_version(context.config, context.inputs["policy"].key, head)
    keys = [pair_key(example, fields, query_fields) for example in pairs]
    filled = {keys[place]: judged.probabilities[place] for place in np.flatnonzero(known)}
    path = context.output / CACHE
    fill(path, version, filled.items())
    states = {state: _served(state, path, context.work, version, keys, filled) for state in STATES}

    timed = lists[:: max(1, len(lists) // deploy.timed)][: deploy.timed]
    cache = AnswerCache(path, version, train.grades)
    seconds = {
        "cache": _seconds(lambda own: cache.lookup([pair_key(example, fields, query_fields) for example in own]), timed),
        "ranker": _seconds(ranker.probabilities, timed),
        "llm": _seconds(lambda own: judge.answers([renderer.ids(example) for example in own]), timed),
    }
    cache.close()
    write_json(context.output / LATENCY, seconds)
    write_json(
        context.output / IDENTITY,
        {"version": version, "instructions": head, "ranks": queries.ranks, "distilled": int(answers.tokens.sum())},
    )
    copy_description(context.inputs["data"].path, context.output)
    write_examples(context.output / EXAMPLES, (("traffic", example) for example in pairs))
    place = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
    columns = {f"llm/{PROBABILITY}{grade + 1}": judged.probabilities[:, grade] for grade in range(train.grades)}
    columns |= {f"ranker/{PROBABILITY}{grade + 1}": small[:, grade] for grade in range(train.grades)}
    columns |= {f"cache/{state}": served for state, served in states.items()}
    table = pd.DataFrame({"query": place, "rank": ranks[place], "gold": [own.gold for own in pairs], "tokens": judged.tokens} | columns)
    table.to_parquet(context.output / ANSWERS, index=False)
    agreement = (small.argmax(axis=1) == np.nan_to_num(judged.probabilities).argmax(axis=1))[known]
    return {
        "pairs": len(pairs), "queries": len(ranks), "distilled_pairs": len(chosen), "invalid_rate": float(1 - known.mean()),
        "ranker_agreement": float(agreement.mean()) if known.any() else 0.0,
        "llm_tokens": float(judged.tokens.mean()),
    }  # fmt: skip


def load_judge(policy: Path, settings: Any, pairs: Pairs, head: list[str] | None = None) -> tuple[LabelJudge, Any]:
    """(judge, renderer) of a policy folder under a point's settings: features, prompt, format, compute, eval. head: the lines before the
    query, None: as the lab writes them."""
    model, tokenizer = load_policy(policy, settings.compute.device)
    ends = end_ids(model, tokenizer.eos_token_id)
    engine = TransformersEngine(model, tokenizer.pad_token_id, ends, settings.compute.generation_rounds)
    layout = pairs.layout(settings)
    judge = LabelJudge(engine, tokenizer, ends, layout, settings.eval.max_completion_length, settings.eval.batch_size)
    return judge, pairs.renderer(settings, tokenizer, head=head)


def _seconds(answer: Callable[[Sequence[Example]], Any], requests: Sequence[Sequence[Example]]) -> list[float]:
    """Wall-clock seconds of each request by itself; one before them is not counted, so that nothing is opened or compiled in them."""
    answer(requests[0])
    found = []
    for request in requests:
        started = time.perf_counter()
        answer(request)
        found.append(time.perf_counter() - started)
    return found


def _served(state: str, path: Path, work: Path, version: str, keys: Sequence[bytes], filled: Mapping[bytes, np.ndarray]) -> np.ndarray:
    """(n,) which keys a cache in this state answers. Raises RuntimeError where an answer is not the one it was filled with."""
    copy = work / f"{state}.sqlite"
    if state == "empty":
        copy.unlink(missing_ok=True)
    else:
        shutil.copyfile(path, copy)
    if state == "damaged":
        _damage(copy)
    cache = AnswerCache(copy, "another policy" if state == "stale" else version, len(next(iter(filled.values()), ())))
    found = cache.lookup(keys)
    cache.close()
    wrong = sum(answer is not None and not np.array_equal(answer, filled[key]) for key, answer in zip(keys, found, strict=True))
    if wrong:
        raise RuntimeError(f"a {state} cache served another answer than it was filled with ({wrong} of {len(keys)} pairs)")
    return np.array([answer is not None for answer in found])


def _damage(path: Path) -> None:
    """Overwrite a stretch of every third page behind the first."""
    content = bytearray(path.read_bytes())
    for start in range(2 * 4096, len(content), 3 * 4096):
        content[start + 2048 : start + 2560] = b"\xff" * len(content[start + 2048 : start + 2560])
    path.write_bytes(content)

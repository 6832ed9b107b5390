"""What an evaluation costs: reading the first token, generating through the lab, and a plain `model.generate` loop, in one run, with the labels of each.

    python benchmarks/evaluation.py [--pairs 400] [--requests 100] [--rounds 3] [--read-at 64] [--root outputs] [words ...]

Two policies of one size, one base model and one SFT budget, which the lab trains (or finds under --root): one that answers first, whose label is read from
one forward pass (`eval.decode=first_token`) and also generated with its explanation, and one that reasons first, which has to generate before it can answer.
Processor seconds of the one thread that works, for load on the machine lengthens the wall clock; the ways take turns, and the median over rounds counts.
Throughput of generating is at `eval.batch_size`, of reading at --read-at prompts (a step of generating has one token a row, so it wants more rows than
a pass over whole prompts), latency at one request at a time. The last three lines do the whole of a default evaluation, sampled labels
included: reading the first token (whose probabilities labels are drawn from), generating by the lab's engine, and by a loop a user would write: batches in
the order of the file, padded, one `generate` each. Bars: 5 times the pairs a second for reading, of greedy labels alone and of an evaluation, 1.5 for
generating against the loop. Exits with 1 where a label read is not the label that greedy generation of the same policy writes, or the loop's greedy labels are not the lab's.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from bars import bar
from sklearn.metrics import f1_score
from transformers import GenerationConfig

from lore_lab.config.compose import compose
from lore_lab.config.schema import Config
from lore_lab.config.validate import validate
from lore_lab.evaluate.decode import Policy, first_token
from lore_lab.evaluate.metrics import INVALID
from lore_lab.evaluate.predict import Pair, answer_row, predict
from lore_lab.rollout.engine import Sampling, TransformersEngine, end_ids
from lore_lab.stages.executor import Executor
from lore_lab.stages.functions.common import Pairs
from lore_lab.stages.progress import Progress
from lore_lab.stages.records import Point
from lore_lab.stages.store import Store
from lore_lab.train.common import load_policy

SAMPLED = 3  #: every third pair is sampled too, as 64 of 200 are by default
Way = Callable[[Sequence[Pair]], pd.DataFrame]


def trained(words: Sequence[str], layout: str, root: Path, pairs: int) -> tuple[Policy, list[Pair], Config]:
    """The SFT policy of a layout, and the test pairs rendered for it."""
    config = compose(
        (
            *words,
            f"format={layout}",
            "rl=off",
            "eval.baselines=[]",
            "eval.sampled_size=0",
            f"eval.size={-(-pairs // 4)}",
            "compute.device=cpu",
        )
    )
    validate(config)
    point, store = Point.of(config, ()), Store(root)
    if Executor(store, 1, Progress()).run([point])[point.key] != "done":
        raise SystemExit(f"the {layout} policy could not be trained; lore-lab status says why")
    sft, bench = store.find("sft", point.nodes["sft"].key), store.find("bench", point.nodes["bench"].key)
    assert sft is not None
    assert bench is not None
    test = Pairs.read(bench)
    model, tokenizer = load_policy(sft.path, "cpu")
    ends = end_ids(model, tokenizer.eos_token_id)
    engine = TransformersEngine(model, tokenizer.pad_token_id, ends, config.compute.generation_rounds)
    renderer = test.renderer(config, tokenizer)
    rows = [Pair(example, subset, renderer.ids(example), sampled=False) for subset, example in test.rows][:pairs]
    return Policy(engine, tokenizer, ends, test.layout(config), config.eval.batch_size, lambda *_: None), rows, config


def reading(policy: Policy) -> Way:
    return lambda pairs: first_token(policy, pairs, Sampling(0.0, 1), 0, 0)


def writing(policy: Policy, limit: int) -> Way:
    def ask(pairs: Sequence[Pair]) -> pd.DataFrame:
        return predict(
            pairs, policy.engine, policy.tokenizer, policy.ends, policy.layout, Sampling(0.0, limit), 0, policy.batch_size, policy.report
        )  # fmt: skip

    return ask


def also_sampled(pairs: Sequence[Pair]) -> list[Pair]:
    """As stage `eval` does: greedy for all pairs, more labels for every third."""
    return [replace(pair, sampled=place % SAMPLED == 0) for place, pair in enumerate(pairs)]


def evaluating(policy: Policy, limit: int, samples: int) -> Way:
    return lambda pairs: predict(
        also_sampled(pairs), policy.engine, policy.tokenizer, policy.ends, policy.layout, Sampling(1.0, limit), samples, policy.batch_size, policy.report
    )  # fmt: skip


def evaluating_by_reading(policy: Policy, samples: int) -> Way:
    return lambda pairs: first_token(policy, also_sampled(pairs), Sampling(1.0, 1), samples, 0)


def looping(policy: Policy, limit: int, samples: int, multinomial: Any) -> Way:
    """The same completions by the loop of a script. multinomial: torch's own, whatever the lab draws with."""
    model, tokenizer = policy.engine.model, policy.tokenizer

    def generate(pairs: Sequence[Pair], **chosen: Any) -> list[list[int]]:
        padded = tokenizer.pad({"input_ids": [list(pair.prompt) for pair in pairs]}, padding_side="left", return_tensors="pt")
        config = GenerationConfig(max_new_tokens=limit, pad_token_id=tokenizer.pad_token_id, eos_token_id=list(policy.ends), **chosen)
        rows = model.generate(**padded, generation_config=config)[:, padded["input_ids"].shape[1] :].tolist()
        ends = [next((place + 1 for place, token in enumerate(row) if token in policy.ends), len(row)) for row in rows]
        return [row[:end] for row, end in zip(rows, ends, strict=True)]

    def ask(pairs: Sequence[Pair]) -> pd.DataFrame:
        model.eval()
        rows = []
        with torch.no_grad(), patch.object(torch, "multinomial", multinomial):
            for start in range(0, len(pairs), policy.batch_size):
                batch = pairs[start : start + policy.batch_size]
                for pair, ids in zip(batch, generate(batch, do_sample=False), strict=True):
                    rows.append(answer_row(pair, "greedy", 0, ids, tokenizer, policy.ends, policy.layout))
            step, sampled = policy.batch_size // samples, pairs[::SAMPLED]
            for start in range(0, len(sampled), step):
                batch = sampled[start : start + step]
                drawn = generate(batch, do_sample=True, top_k=0, num_return_sequences=samples)
                for place, ids in enumerate(drawn):
                    rows.append(answer_row(batch[place // samples], "sampled", place % samples, ids, tokenizer, policy.ends, policy.layout))
        return pd.DataFrame(rows).sort_values(["mode", "subset", "example_id", "sample"], kind="stable", ignore_index=True)

    return ask


def seconds(way: Way, pairs: Sequence[Pair]) -> tuple[float, pd.DataFrame]:
    started = time.process_time()
    table = way(pairs)
    return time.process_time() - started, table


def facts(name: str, times: list[float], single: list[float], table: pd.DataFrame) -> dict[str, Any]:
    f1 = f1_score(table["gold"], table["predicted"], labels=sorted(table["gold"].unique()), average="macro", zero_division=0)
    percentiles = {f"p{share}": 1000 * float(np.percentile(single, share)) if single else np.nan for share in (50, 95, 99)}
    table = table[table["mode"] == "greedy"]
    return {"way": name, "rate": len(table) / statistics.median(times), "tokens": table["tokens"].mean(), **percentiles, "macro_f1": f1}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=400, help="test pairs, a quarter of each subset")
    parser.add_argument("--requests", type=int, default=100, help="of them asked one at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--read-at", type=int, default=64, help="prompts read at once: eval.batch_size of a run with eval.decode=first_token"
    )
    parser.add_argument("--root", type=Path, default=Path("outputs"))
    parser.add_argument("words", nargs="*", help="override words of both policies")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    first, first_pairs, config = trained(arguments.words, "answer_first", arguments.root, arguments.pairs)
    last, last_pairs, _ = trained(arguments.words, "reason_first", arguments.root, arguments.pairs)
    multinomial = torch.multinomial
    if config.compute.inverse_draws:
        importlib.import_module("lore_lab.rollout.inverse_draws")
    limit, read = config.eval.max_completion_length, replace(first, batch_size=arguments.read_at)
    ways: dict[str, tuple[Way, list[Pair]]] = {
        "first token": (reading(read), first_pairs),
        "answer first": (writing(first, limit), first_pairs),
        "reason first": (writing(last, limit), last_pairs),
    }
    whole: dict[str, tuple[Way, list[Pair]]] = {
        "lab's evaluation": (evaluating(last, limit, config.eval.samples), last_pairs),
        "plain loop": (looping(last, limit, config.eval.samples, multinomial), last_pairs),
    }
    ways |= {"evaluation, read": (evaluating_by_reading(read, config.eval.samples), first_pairs), **whole}
    times: dict[str, list[float]] = {name: [] for name in ways}
    single: dict[str, list[float]] = {name: [] for name in ways}
    tables: dict[str, pd.DataFrame] = {}
    for _ in range(arguments.rounds):
        for name, (way, pairs) in ways.items():
            way(pairs)  # what the way before left in caches and freed would be half of a short one's time
            spent, tables[name] = seconds(way, pairs)
            times[name].append(spent)
    for number in range(arguments.requests):
        for name, (way, pairs) in list(ways.items())[:3]:
            single[name].append(seconds(way, [pairs[number % len(pairs)]])[0])
    rows = [facts(name, times[name], single[name], tables[name]) for name in ways]
    rate = {row["way"]: row["rate"] for row in rows}
    print(f"{'way':18}{'pairs/s':>9}{'tokens':>8}{'p50 ms':>8}{'p95 ms':>8}{'p99 ms':>8}{'macro-F1':>10}")
    for row in rows:
        numbers = "".join(f"{row[key]:8.1f}" for key in ("tokens", "p50", "p95", "p99"))
        print(f"{row['way']:18}{row['rate']:9.0f}{numbers}{row['macro_f1']:10.3f}")
    bar("first token against reason first, greedy labels alone, pairs a second", rate["first token"] / rate["reason first"], at_least=5)
    bar("first token against the same policy's whole completion, pairs a second", rate["first token"] / rate["answer first"])
    bar(
        f"evaluation by the first token against one by generation, {config.eval.samples} samples of a third, pairs a second",
        rate["evaluation, read"] / rate["lab's evaluation"],
        at_least=5,
    )
    bar("first token against reason first, how much shorter one request is at the median", rows[2]["p50"] / rows[0]["p50"])
    valid = tables["answer first"]["predicted"] != INVALID
    other = int((tables["first token"]["predicted"] != tables["answer first"]["predicted"])[valid].sum())
    print(f"labels read that differ from those written: {other} of {int(valid.sum())} valid completions")
    greedy = [tables[name].loc[tables[name]["mode"] == "greedy", "predicted"].to_numpy() for name in whole]
    unequal = int((greedy[0] != greedy[1]).sum())
    bar(
        "the lab's evaluation by generation against a plain loop, pairs a second",
        rate["lab's evaluation"] / rate["plain loop"],
        at_least=1.5,
    )
    print(f"greedy labels that differ between the two: {unequal}")
    sys.exit(int(other > 0 or unequal > 0))


if __name__ == "__main__":
    main()

"""A policy's answers on test pairs: greedy once, sampled n times, as a table with one row a completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lore_lab.data.example import Example
from lore_lab.evaluate.metrics import INVALID
from lore_lab.prompts.formats import ResponseFormat
from lore_lab.prompts.reading import read_completion
from lore_lab.rollout.engine import Engine, Sampling


@dataclass(frozen=True)
class Pair:
    """A test pair, rendered. sampled: whether it is also sampled."""

    example: Example
    subset: str
    prompt: list[int]
    sampled: bool


def predict(
    pairs: Sequence[Pair],
    engine: Engine,
    tokenizer: Any,
    ends: Sequence[int],
    layout: ResponseFormat,
    sampling: Sampling,
    samples: int,
    batch_size: int,
    report: Callable[[int, int, str], None],
) -> pd.DataFrame:
    """One row a completion: example_id, subset, capability, frequency, query_id, item_id, query, title, gold, label, mode, sample, predicted, completion,
    problem, tokens, reasoning_tokens. sampling: of the sampled completions; the greedy ones share its length limit."""
    greedy = Sampling(0.0, sampling.max_tokens)
    work = [(pair, "greedy", 0, greedy) for pair in pairs]
    work += [(pair, "sampled", sample, sampling) for pair in pairs if pair.sampled for sample in range(samples)]
    # Pairs of like length share a batch, so that little is padding; modes never share one.
    work.sort(key=lambda item: (item[1], len(item[0].prompt)))
    rows: list[dict[str, Any]] = []
    start = 0
    while start < len(work):
        mode, chosen = work[start][1], work[start][3]
        batch = [item for item in work[start : start + batch_size] if item[1] == mode]
        completions = engine.generate([pair.prompt for pair, *_ in batch], chosen)
        for (pair, _, sample, _), ids in zip(batch, completions, strict=True):
            rows.append(answer_row(pair, mode, sample, ids, tokenizer, ends, layout))
        start += len(batch)
        report(start, len(work), "completions")
    table = pd.DataFrame(rows)
    return table.sort_values(["mode", "subset", "example_id", "sample"], kind="stable", ignore_index=True)


def beam_answers(
    pairs: Sequence[Pair],
    engine: Engine,
    tokenizer: Any,
    ends: Sequence[int],
    layout: ResponseFormat,
    width: int,
    max_tokens: int,
    batch_size: int,
    report: Callable[[int, int, str], None],
) -> pd.DataFrame:
    """Rows as those of `predict`, of mode "beam": `width` a pair, `sample` 0 the most probable completion. batch_size: completions at once."""
    work = sorted(pairs, key=lambda pair: len(pair.prompt))
    rows: list[dict[str, Any]] = []
    step = max(1, batch_size // width)
    for start in range(0, len(work), step):
        batch = work[start : start + step]
        beams = engine.beams([pair.prompt for pair in batch], width, max_tokens)
        for pair, beam in zip(batch, beams, strict=True):
            rows += [answer_row(pair, "beam", place, ids, tokenizer, ends, layout) for place, ids in enumerate(beam)]
        report(start + len(batch), len(work), "beams")
    return pd.DataFrame(rows).sort_values(["subset", "example_id", "sample"], kind="stable", ignore_index=True)


def answer_row(
    pair: Pair, mode: str, sample: int, ids: list[int], tokenizer: Any, ends: Sequence[int], layout: ResponseFormat
) -> dict[str, Any]:
    text, parsed = read_completion(ids, tokenizer, ends, layout)
    reasoning = tokenizer.encode(parsed.reasoning, add_special_tokens=False) if parsed.reasoning else []
    return pair_row(pair, mode, sample) | {
        "predicted": INVALID if parsed.grade is None else parsed.grade,
        "completion": text,
        "problem": parsed.problem,
        "tokens": len(ids),
        "reasoning_tokens": len(reasoning),
    }


def pair_row(pair: Pair, mode: str, sample: int) -> dict[str, Any]:
    """What a row says of its pair, whatever the answer."""
    example = pair.example
    return {
        "example_id": example.id,
        "subset": pair.subset,
        "capability": example.capability,
        "frequency": example.frequency,
        "query_id": example.query_id,
        "item_id": example.item_id,
        "query": example.query,
        "title": example.item.get("title", ""),
        "gold": example.gold,
        "label": example.label,
        "mode": mode,
        "sample": sample,
    }

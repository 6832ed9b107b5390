"""Stages `data` (training pairs) and `bench` (test pairs): examples of the source on disk, with what is known of the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lore_lab.data.example import Example, Source
from lore_lab.data.frame import write_examples
from lore_lab.data.registry import load_source
from lore_lab.stages.context import StageContext
from lore_lab.stages.store import write_json

EXAMPLES, SOURCE = "examples.parquet", "source.json"


def _describe(context: StageContext, source: Source) -> None:
    rules = dict(getattr(source, "rule_texts", {}))
    content = {"name": source.name, "grades": list(source.grades), "relevant_from": source.relevant_from, "rule_texts": rules}
    write_json(context.output / SOURCE, content | {"report": source.report()})


def train(context: StageContext) -> dict[str, Any]:
    """The first `data.size` training pairs: a smaller size is a prefix of a larger one."""
    source = load_source(context.config["data"])
    size = context.config["data"]["size"]
    labels: list[int] = []
    wrong = 0

    def rows() -> Iterator[tuple[str, Example]]:
        nonlocal wrong
        for example in source.examples("train", 0, size):
            labels.append(example.label)
            wrong += example.label != example.gold
            yield "train", example

    count = write_examples(context.output / EXAMPLES, rows())
    if count == 0:
        raise ValueError(f"{source.name} yielded no training pair")
    _describe(context, source)
    shares = np.bincount(labels, minlength=len(source.grades)) / count
    return {"pairs": count, "label_noise": wrong / count} | {f"share/{grade + 1}": float(share) for grade, share in enumerate(shares)}


def bench(context: StageContext) -> dict[str, Any]:
    """The first `eval.size` pairs of each test split."""
    source = load_source(context.config["data"])
    settings = context.config["eval"]
    counts: dict[str, int] = {}

    def rows() -> Iterator[tuple[str, Example]]:
        for split in settings["subsets"]:
            for example in source.examples(split, 0, settings["size"]):
                counts[split] = counts.get(split, 0) + 1
                yield split, example

    write_examples(context.output / EXAMPLES, rows())
    empty = [split for split in settings["subsets"] if not counts.get(split)]
    if empty:
        raise ValueError(f"{source.name} has no pairs in {', '.join(empty)}; take eval.subsets={sorted(counts)}")
    _describe(context, source)
    return {f"pairs/{split}": count for split, count in counts.items()}

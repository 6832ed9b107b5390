"""Stages `data` (training pairs) and `bench` (test pairs): examples of the source on disk, with what is known of the source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lore_lab.data.example import Example, Guide, Source
from lore_lab.data.frame import read_examples, write_examples
from lore_lab.data.registry import load_source
from lore_lab.stages.context import StageContext
from lore_lab.stages.store import write_json

EXAMPLES, SOURCE, WORKED = "examples.parquet", "source.json", "worked.parquet"


def describe(folder: Path, source: Source) -> None:
    """What stages need to know of a source beside its pairs: grades, guide, and what was read."""
    guide = source.guide
    told = {"definitions": guide.definitions, "rules": dict(guide.rules), "core": guide.core}
    about = {"name": source.name, "grades": source.grades, "relevant_from": source.relevant_from, "guide": told}
    write_json(folder / SOURCE, about | {"report": source.report()})
    write_examples(folder / WORKED, (("train", example) for example in guide.worked))


def read_guide(folder: Path) -> Guide:
    """The guide of a data or bench artifact."""
    told = json.loads((folder / SOURCE).read_text(encoding="utf-8"))["guide"]
    worked = tuple(example for _, example in read_examples(folder / WORKED))
    return Guide(tuple(told["definitions"]), told["rules"], tuple(told["core"]), worked)


def copy_description(origin: Path, folder: Path) -> None:
    """To an artifact made of some of another's pairs."""
    for name in (SOURCE, WORKED):
        shutil.copyfile(origin / name, folder / name)


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
    describe(context.output, source)
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
    describe(context.output, source)
    return {f"pairs/{split}": count for split, count in counts.items()}

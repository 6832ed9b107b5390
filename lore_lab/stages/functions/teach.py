"""Stage `teach`: a language model writes the reasoning of the training targets; what it cannot write is quarantined and counted."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lore_lab.data.example import Example
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import REASONING, Pairs
from lore_lab.teacher.replies import Unusable, open_replies
from lore_lab.teacher.script import Script

QUARANTINE = "quarantine.jsonl"


def run(context: StageContext) -> dict[str, Any]:
    settings, pairs = context.settings, Pairs.read(context.inputs["data"])
    teacher = settings.teacher
    replies = open_replies(teacher, context.shared)
    rules = teacher.rules or list(pairs.guide.rules.values())
    script = Script(teacher, settings.cot, settings.features.fields, pairs.source["grades"], rules, replies.ask)
    taught, quarantine = _all(script, pairs, teacher, context)
    if not taught:
        raise ValueError("the teacher gave usable reasoning for no pair")
    table = pa.table({"example_id": list(taught), "reasoning": list(taught.values())})
    pq.write_table(table, context.output / REASONING)
    words = sum(len(text.split()) for text in taught.values()) / len(taught)
    reasons = {f"quarantined/{reason}": count for reason, count in sorted(Counter(row["reason"] for row in quarantine).items())}
    return {"pairs": len(taught), "quarantined": len(quarantine), "words": words} | reasons | replies.report()


def _all(script: Script, pairs: Pairs, teacher: Any, context: StageContext) -> tuple[dict[str, str], list[dict[str, str]]]:
    """(reasoning by example id, what was quarantined). Raises ValueError as soon as too much is; the file says what and why."""

    def one(example: Example) -> str | Unusable:
        try:
            return script.reasoning(example)
        except Unusable as error:
            return error

    examples = [example for _, example in pairs.rows]
    taught: dict[str, str] = {}
    quarantine: list[dict[str, str]] = []
    pool = ThreadPoolExecutor(teacher.concurrency)
    try:
        for done, (example, found) in enumerate(zip(examples, pool.map(one, examples), strict=True), start=1):
            if isinstance(found, str):
                taught[example.id] = found
            else:
                quarantine.append({"example_id": example.id, "reason": found.reason, "detail": found.detail, "query": example.query})
                _check_share(quarantine, len(examples), teacher.max_quarantined, context.output / QUARANTINE)
            context.progress(done, len(examples), f"pairs taught, {len(quarantine)} quarantined")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _write(quarantine, context.output / QUARANTINE)
    return taught, quarantine


def _check_share(quarantine: list[dict[str, str]], pairs: int, allowed: float, path: Path) -> None:
    if len(quarantine) <= allowed * pairs:
        return
    reasons = Counter(row["reason"] for row in quarantine)
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    raise ValueError(
        f"{len(quarantine)} of {pairs} pairs have no usable reasoning ({told}), more than teacher.max_quarantined={allowed}; {path} says which"
    )


def _write(rows: list[dict[str, str]], path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows), encoding="utf-8")

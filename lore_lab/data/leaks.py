"""Checks that what a model is tested on was not trained on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lore_lab.data.example import Source, Split


class LeakError(ValueError):
    """Two splits share queries."""


def normalise_query(text: str) -> str:
    """The query as splits compare it: compatibility forms, case and spacing do not count."""
    if text.isascii():
        return " ".join(text.casefold().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def check_leaks(
    source: Source,
    train: Iterable[Split] = ("train",),
    test: Iterable[Split] = ("validation", "wild", "unseen", "general", "hard", "visual", "rule"),
    limit: int | None = None,
    shown: int = 5,
) -> dict[str, int]:
    """Raise LeakError when a test split holds a normalised query of a train split.

    limit: examples read of each split (needed where a split has no end). Returns the number of distinct queries read by split.
    """
    seen: dict[str, str] = {}
    counts: dict[str, int] = {}
    for split in train:
        queries = _queries(source, split, limit)
        counts[split] = len(queries)
        seen |= {key: f"{split}: {text!r}" for key, text in queries.items()}
    for split in test:
        if source.size(split) == 0:
            continue
        queries = _queries(source, split, limit)
        counts[split] = len(queries)
        shared = sorted(seen.keys() & queries.keys())
        if shared:
            names = "\n".join(f"  {seen[key]} and {split}: {queries[key]!r}" for key in shared[:shown])
            more = f"\n  and {len(shared) - shown} more" if len(shared) > shown else ""
            raise LeakError(f"{source.name}: {len(shared)} queries of {split} were trained on:\n{names}{more}")
    return counts


def _queries(source: Source, split: Split, limit: int | None) -> dict[str, str]:
    """Normalised query -> query as written, of the first `limit` examples."""
    if limit is None and source.size(split) is None:
        raise ValueError(f"{source.name}/{split} has no end: check_leaks needs a limit")
    return {normalise_query(example.query): example.query for example in islice(source.examples(split), limit)}

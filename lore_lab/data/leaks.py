"""Checks that what a model is tested on was not trained on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
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
    return compare_queries(
        source.name,
        {split: _queries(source, split, limit) for split in train},
        {split: _queries(source, split, limit) for split in test if source.size(split) != 0},
        shown,
    )


def compare_queries(name: str, train: Mapping[str, Iterable[str]], test: Mapping[str, Iterable[str]], shown: int = 5) -> dict[str, int]:
    """Raise LeakError naming at most `shown` queries of a test split that a train split holds too, as `normalise_query` reads them.

    train, test: the queries of each split, as written. name: the source. Returns the number of distinct queries by split.
    """
    seen: dict[str, str] = {}
    counts: dict[str, int] = {}
    for split, texts in train.items():
        queries = {normalise_query(text): text for text in texts}
        counts[split] = len(queries)
        seen |= {key: f"{split}: {text!r}" for key, text in queries.items()}
    for split, texts in test.items():
        queries = {normalise_query(text): text for text in texts}
        counts[split] = len(queries)
        shared = sorted(seen.keys() & queries.keys())
        if shared:
            names = "\n".join(f"  {seen[key]} and {split}: {queries[key]!r}" for key in shared[:shown])
            more = f"\n  and {len(shared) - shown} more" if len(shared) > shown else ""
            raise LeakError(f"{name}: {len(shared)} queries of {split} were trained on:\n{names}{more}")
    return counts


def _queries(source: Source, split: Split, limit: int | None) -> Iterator[str]:
    """Queries of the first `limit` examples."""
    if limit is None and source.size(split) is None:
        raise ValueError(f"{source.name}/{split} has no end: check_leaks needs a limit")
    return (example.query for example in islice(source.examples(split), limit))

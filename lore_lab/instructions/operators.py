"""Deterministic mutations of instruction lines. None of them is told what a line means: what helps is found by scoring."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Lines = tuple[str, ...]
Operator = Callable[[Lines, random.Random], Lines | None]
Mutate = Callable[[Lines, random.Random], tuple[str, Lines] | None]

_PHRASES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "phrases.yaml").read_text(encoding="utf-8"))


def drop(lines: Lines, generator: random.Random) -> Lines | None:
    """Without one line; the last one stays."""
    place = generator.randrange(len(lines))
    return lines[:place] + lines[place + 1 :] if len(lines) > 1 else None


def swap(lines: Lines, generator: random.Random) -> Lines | None:
    """Two lines change places."""
    if len(lines) < 2:
        return None
    one, other = sorted(generator.sample(range(len(lines)), 2))
    return (*lines[:one], lines[other], *lines[one + 1 : other], lines[one], *lines[other + 1 :])


def move(lines: Lines, generator: random.Random) -> Lines | None:
    """One line stands elsewhere."""
    if len(lines) < 2:
        return None
    origin, place = generator.randrange(len(lines)), generator.randrange(len(lines) - 1)
    rest = lines[:origin] + lines[origin + 1 :]
    return (*rest[:place], lines[origin], *rest[place:])


def repeat(lines: Lines, generator: random.Random) -> Lines | None:
    """One line stands once more, at the end, nearest to the query."""
    return (*lines, generator.choice(lines))


def paraphrase(lines: Lines, generator: random.Random) -> Lines | None:
    """One phrase of the table gives way to another of its meaning."""
    found = [
        (place, match.span(), other)
        for place, line in enumerate(lines)
        for group in _PHRASES["paraphrases"]
        for phrase in group
        for match in re.finditer(rf"(?<!\w){re.escape(phrase)}(?!\w)", line, re.IGNORECASE)
        for other in group
        if other != phrase
    ]
    if not found:
        return None
    place, (start, end), other = generator.choice(found)
    return _with(lines, place, lines[place][:start] + _cased(other, lines[place][start]) + lines[place][end:])


def emphasise(lines: Lines, generator: random.Random) -> Lines | None:
    """One line that is not stressed yet begins with a word of stress."""
    plain = [place for place, line in enumerate(lines) if not line.startswith(tuple(_PHRASES["emphases"]))]
    if not plain:
        return None
    place = generator.choice(plain)
    return _with(lines, place, generator.choice(_PHRASES["emphases"]) + lines[place])


def _with(lines: Lines, place: int, line: str) -> Lines:
    return (*lines[:place], line, *lines[place + 1 :])


def _cased(phrase: str, first: str) -> str:
    """`phrase` with a capital where the phrase it replaces, beginning with `first`, had one."""
    return phrase[0].upper() + phrase[1:] if first.isupper() else phrase


#: the choices of `instructions.operators`, beside `rewrite`, which needs somebody to ask (rewrite.py)
OPERATORS: dict[str, Operator] = {
    "drop": drop, "swap": swap, "move": move, "repeat": repeat, "paraphrase": paraphrase, "emphasise": emphasise,
}  # fmt: skip


def mutator(names: Sequence[str], operators: Mapping[str, Operator] = OPERATORS) -> Mutate:
    """Draws one of the operators `names`, each with equal chance; None where the one drawn cannot act on the lines."""

    def mutate(lines: Lines, generator: random.Random) -> tuple[str, Lines] | None:
        name = generator.choice(list(names))
        mutated = operators[name](lines, generator)
        return None if mutated is None else (name, mutated)

    return mutate

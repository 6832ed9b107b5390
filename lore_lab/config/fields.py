"""How a config field is declared: type, docstring, range and source in one place.

`setting(...)` is `dataclasses.field` with metadata. The range is enforced by `config.validate`, the doc and the source are printed by
`lore-lab config`. There is no default: every value stands in YAML, so a resolved config shows all of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import MISSING


def setting(
    doc: str,
    *,
    source: str = "ours",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
    """A config field without default.

    doc: what it is, with its unit. source: paper section, arXiv id, "assumed", or "ours". ge/gt/le/lt: bounds for numbers
    (each number of a list). choices: the only values allowed (each element of a list).
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    metadata: dict[str, Any] = {"doc": doc, "source": source, "choices": tuple(choices) if choices else None}
    metadata |= {name: bound for name, bound in bounds.items() if bound is not None}
    return dataclasses.field(default=MISSING, metadata=metadata)


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """(dotted key, field, value) of every leaf of a nested dataclass instance, in declaration order."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        key = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{key}.")
        else:
            yield key, field, value


_OPERATORS = {
    "ge": (">=", lambda value, bound: value >= bound),
    "gt": (">", lambda value, bound: value > bound),
    "le": ("<=", lambda value, bound: value <= bound),
    "lt": ("<", lambda value, bound: value < bound),
}


def range_error(key: str, field: dataclasses.Field[Any], value: Any) -> str | None:
    """What is wrong with `value` under the field's own bounds and choices; None when nothing is."""
    choices = field.metadata.get("choices")
    for number in value if isinstance(value, (list, tuple)) else [value]:
        if choices is not None and number not in choices:
            return f"{key}={number!r} is not one of {', '.join(map(repr, choices))}"
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        if not math.isfinite(number):
            return f"{key}={number} is not a finite number"
        for name, (symbol, holds) in _OPERATORS.items():
            bound = field.metadata.get(name)
            if bound is not None and not holds(number, bound):
                return f"{key}={number} must be {symbol} {bound}"
    return None

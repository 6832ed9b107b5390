"""Columns of a table to the visible fields of an item."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any

#: fields every part of the lab knows; a table without a field mapping has its columns matched to these names
STANDARD = ("title", "brand", "category", "attributes", "description", "caption", "reviews", "shop", "price")


def as_text(value: Any) -> str:
    """A cell as text: yes/no for booleans, 3 for 3.0, "" for nothing, lists and mappings joined."""
    if isinstance(value, str):
        return value.strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {text}" for key, part in value.items() if (text := as_text(part)))
    if isinstance(value, (list, tuple)):
        return ", ".join(text for part in value if (text := as_text(part)))
    return str(value)


class FieldMap:
    """Renders a row's cells as visible fields.

    spec: field -> columns. One plain column is the field's text. Several, or a glob such as `attr_*`, become
    "name: value; name: value", the name being the column without the glob's prefix and with spaces for underscores.
    """

    def __init__(self, spec: Mapping[str, Sequence[str]]) -> None:
        self.spec = {name: list(columns) for name, columns in spec.items()}
        self.plain = {name: columns[0] for name, columns in self.spec.items() if len(columns) == 1 and not _is_glob(columns[0])}
        self.listed = {name: columns for name, columns in self.spec.items() if name not in self.plain}
        self._labels: dict[tuple[str, str], str | None] = {}

    def wants(self, column: str) -> bool:
        """Whether some field shows the column."""
        return any(fnmatch.fnmatchcase(column, pattern) for patterns in self.spec.values() for pattern in patterns)

    def missing(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        """(field, column or glob) for which the table has no column."""
        return [
            (name, pattern)
            for name, patterns in self.spec.items()
            for pattern in patterns
            if not any(fnmatch.fnmatchcase(column, pattern) for column in columns)
        ]

    def render(self, values: Mapping[str, Any]) -> dict[str, str]:
        """The row's visible fields; one without text is left out."""
        fields = {}
        for name in self.spec:
            text = as_text(values.get(self.plain[name])) if name in self.plain else self._list(name, values)
            if text:
                fields[name] = text
        return fields

    def _list(self, name: str, values: Mapping[str, Any]) -> str:
        parts = []
        for column, value in values.items():
            label = self._label(name, column)
            if label and (text := as_text(value)):
                parts.append(f"{label}: {text}")
        return "; ".join(parts)

    def _label(self, name: str, column: str) -> str | None:
        """How `column` is called within field `name`; None when it is no part of it."""
        key = (name, column)
        if key not in self._labels:
            pattern = next((p for p in self.listed[name] if fnmatch.fnmatchcase(column, p)), None)
            prefix = len(pattern.split("*")[0]) if pattern and _is_glob(pattern) else 0
            self._labels[key] = None if pattern is None else column[prefix:].replace("_", " ").strip() or column
        return self._labels[key]


def _is_glob(pattern: str) -> bool:
    return "*" in pattern

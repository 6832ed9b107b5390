"""-w n / L for right completions, 0 for others: among right answers the shorter one earns more, and no wrong answer gains by being short."""

from __future__ import annotations

from typing import Any


def term(tokens: int, limit: int, right: bool, settings: Any) -> float:
    return -settings.weight * min(tokens / limit, 1.0) if right else 0.0

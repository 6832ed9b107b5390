"""DAPO's soft overlong punishment (2503.14476 section 3.4), with L the length limit, b the buffer and w the weight:

0 for n <= L - b;   -w (n - (L - b)) / b for L - b < n <= L;   -w beyond
"""

from __future__ import annotations

from typing import Any


def term(tokens: int, limit: int, right: bool, settings: Any) -> float:
    over = tokens - (limit - settings.buffer)
    return -settings.weight * min(max(over / settings.buffer, 0.0), 1.0)

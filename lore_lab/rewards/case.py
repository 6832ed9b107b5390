"""What a reward may look at: the parsed completion and the example. Nothing a completion merely claims is trusted."""

from __future__ import annotations

from dataclasses import dataclass

from lore_lab.data.example import Example


@dataclass(frozen=True)
class Case:
    """A valid completion beside its example. grade, reasoning: as the response format reads them."""

    grade: int
    reasoning: str
    reasons: bool  #: the format holds reasoning
    example: Example
    grades: int

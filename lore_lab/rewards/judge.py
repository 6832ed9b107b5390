"""Judges completions: parse strictly, then the chosen reward, then length terms. Modules are imported by name, as the config chose them.

A completion that does not parse, or is longer than the limit, earns `reward.invalid` whatever it says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lore_lab.data.example import Example
from lore_lab.prompts.formats import Parsed, ResponseFormat
from lore_lab.rewards.case import Case

_TERMS = ("overlong", "brevity")


def modules(settings: Any) -> tuple[str, ...]:
    """The code a reward config chooses."""
    return tuple(f"lore_lab.rewards.{name}" for name in (settings.name, *_terms(settings)))


def _terms(settings: Any) -> list[str]:
    """Length terms that are on; a stage's slice leaves out those that are off."""
    return [name for name in _TERMS if hasattr(settings, name) and getattr(settings, name).enabled]


@dataclass(frozen=True)
class Outcome:
    """What became of one completion."""

    reward: float
    correct: bool  #: the label agrees with the training label
    valid: bool
    grade: int | None
    length_term: float = 0.0  #: what the length terms added to the reward


class Judge:
    """read: completion ids -> (text, its reading). limit: rl.max_completion_length."""

    def __init__(self, settings: Any, layout: ResponseFormat, limit: int, read: Callable[[Sequence[int]], tuple[str, Parsed]]) -> None:
        self._settings, self._layout, self._limit, self._read = settings, layout, limit, read
        reward, *_ = modules(settings)
        self._reward = importlib.import_module(reward).reward
        self._terms = {name: importlib.import_module(f"lore_lab.rewards.{name}").term for name in _terms(settings)}

    def outcome(self, example: Example, ids: Sequence[int]) -> Outcome:
        _, parsed = self._read(ids)
        return self.judge(example, parsed, len(ids))

    def judge(self, example: Example, parsed: Parsed, tokens: int) -> Outcome:
        valid = parsed.grade is not None and tokens <= self._limit
        right = valid and parsed.grade == example.label
        value = self._settings.invalid
        if valid and parsed.grade is not None:
            case = Case(parsed.grade, parsed.reasoning, self._layout.reasons, example, self._layout.grades)
            value = self._reward(case, self._settings)
        length = sum(term(tokens, self._limit, right, getattr(self._settings, name)) for name, term in self._terms.items())
        return Outcome(float(value + length), right, valid, parsed.grade if valid else None, float(length))

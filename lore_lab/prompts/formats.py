"""Response formats: how a target is written, and the only ways a completion counts as an answer.

The answer is one digit, 1 (worst) to the number of grades, because a digit is one token in every tokenizer we know and AGRL's classes
are numbered so (arXiv 2510.08048). Parsing is strict: exactly one label, in the right place, nothing after it, and the completion must have
ended by itself. Everything else is invalid, and says why. Only what the model generated is ever parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ANSWER = "answer:"  #: marks the label after reasoning; reasoning itself may never hold it


@dataclass(frozen=True)
class Parsed:
    """A completion as its format reads it."""

    grade: int | None  #: grade index, or None when the completion is invalid
    reasoning: str = ""
    problem: str | None = None  #: why it is invalid


@dataclass(frozen=True)
class ResponseFormat:
    """One layout for a number of grades. answer_first tells where the label token stands."""

    name: str
    grades: int
    pattern: re.Pattern[str]
    template: str
    answer_first: bool
    reasons: bool  #: whether a completion holds reasoning

    def render(self, grade: int, reasoning: str) -> str:
        """The target text. Raises ValueError when it would not parse back: a target must be a valid answer."""
        text = self.template.format(label=grade + 1, reasoning=reasoning)
        parsed = self.parse(text, finished=True)
        if parsed.grade != grade:
            raise ValueError(f"a {self.name} target does not parse back ({parsed.problem}): {text!r}")
        return text

    def parse(self, text: str, finished: bool) -> Parsed:
        """finished: the model ended the completion itself (an end token), rather than the length limit."""
        if not finished:
            return Parsed(None, problem="unfinished")
        match = self.pattern.fullmatch(text)
        if match is None:
            return Parsed(None, problem="layout")
        reasoning = match["reasoning"] if self.reasons else ""
        if ANSWER in reasoning.lower():
            return Parsed(None, problem="several answers")
        if any(_bare_number(line) for line in reasoning.splitlines()):
            return Parsed(None, problem="several answers")
        return Parsed(int(match["label"]) - 1, reasoning)

    def label_text(self, grade: int) -> str:
        return str(grade + 1)

    def before_label(self, text: str) -> str:
        """What stands before the label in a valid completion; nothing where the label comes first, whatever follows it."""
        return "" if self.answer_first else text[: -len(self.label_text(0))]


def _bare_number(line: str) -> bool:
    """A line of digits, in any script, without a word beside them: a label out of place."""
    return any(map(str.isnumeric, line)) and not any(map(str.isalpha, line))


_LAYOUTS = {
    # name: (pattern, template, answer first, holds reasoning)
    "label_only": (r"(?P<label>[1-{n}])", "{label}", True, False),
    "answer_first": (r"(?P<label>[1-{n}])\n(?P<reasoning>\S(?:(?:.|\n)*\S)?)", "{label}\n{reasoning}", True, True),
    "reason_first": (r"(?P<reasoning>\S(?:(?:.|\n)*\S)?)\nanswer: (?P<label>[1-{n}])", "{reasoning}\n" + ANSWER + " {label}", False, True),
}


def response_format(name: str, grades: int) -> ResponseFormat:
    """The layout `name` for 2 to 9 grades."""
    if not 2 <= grades <= 9:
        raise ValueError(f"labels are single digits: 2 to 9 grades, not {grades}")
    pattern, template, answer_first, reasons = _LAYOUTS[name]
    return ResponseFormat(name, grades, re.compile(pattern.replace("{n}", str(grades))), template, answer_first, reasons)

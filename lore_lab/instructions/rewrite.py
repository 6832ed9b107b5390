"""A mutation by a language model: it writes one line anew. Whether that helps is found by scoring, as with every other mutation.

Replies are kept by their request, so the same search repeats without a call. What the model writes is text from outside: it becomes one line of plain
words, and cannot open a section of the prompt.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from lore_lab.instructions.operators import Lines
from lore_lab.prompts.neutralise import neutralise
from lore_lab.teacher.reading import read_reply, schema
from lore_lab.teacher.replies import Replies, Unusable

_FIELD = "line"
_SYSTEM = (
    "You edit the instructions that a small language model reads before it grades how well a product fits a search query. "
    f'You reply with a JSON object with one field, "{_FIELD}".'
)
_QUESTION = """The instructions, a line each:

{lines}

Write line {number} anew, so that the grades become more often right: in other words, sharper or simpler, at most {words} words. One line, no line break."""
_SPARE = 8  #: words a new line may have more than the old one (assumed)


class Rewrite:
    """An operator (lines, generator) -> lines with one of them written by the model, or None where its reply is not usable; those are counted."""

    def __init__(self, replies: Replies) -> None:
        self._replies, self._unusable = replies, Counter[str]()

    def __call__(self, lines: Lines, generator: random.Random) -> Lines | None:
        place, attempt = generator.randrange(len(lines)), generator.randrange(2**16)
        try:
            line = self._written(messages(lines, place), attempt)
        except Unusable as error:
            self._unusable[error.reason] += 1
            return None
        return (*lines[:place], line, *lines[place + 1 :])

    def _written(self, question: Sequence[Mapping[str, str]], attempt: int) -> str:
        raw = read_reply(self._replies.ask(question, schema([_FIELD], None), attempt), [_FIELD], None)[_FIELD]
        line = neutralise(raw)
        if not any(map(str.isalpha, line)):
            raise Unusable("empty", raw[:200])
        return line

    def report(self) -> dict[str, float]:
        """Calls, tokens and cost as `Replies` counts them, and the replies that were not usable, by reason."""
        return self._replies.report() | {f"unusable/{reason}": count for reason, count in sorted(self._unusable.items())}


def messages(lines: Lines, place: int) -> list[dict[str, str]]:
    shown = "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))
    question = _QUESTION.format(lines=shown, number=place + 1, words=len(lines[place].split()) + _SPARE)
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]

"""Which tokens of a completion say what: the steps of the reasoning, the verdicts, the label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lore_lab.cot.words import SECTIONS, VERDICTS
from lore_lab.prompts.formats import ANSWER, ResponseFormat

LABEL = len(SECTIONS)  #: the step after the reasoning's sections
VERDICT_WORDS = re.compile(r"\b(" + "|".join(word for words in VERDICTS.values() for word in words) + r")\b")


class Spans:
    """For one tokenizer and layout. Pieces of text by token are kept, for a vocabulary is small and completions are many."""

    def __init__(self, tokenizer: Any, layout: ResponseFormat) -> None:
        self._tokenizer, self._layout = tokenizer, layout
        self._pieces: dict[int, str] = {}

    def _starts(self, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
        """(text, for each token the characters it covers). Bytes of a cut character count as one character each: close enough for ASCII
        structure, which is all that is looked for."""
        text, places = "", []
        for token in ids:
            piece = self._pieces.get(token)
            if piece is None:
                piece = self._pieces[token] = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
            places.append((len(text), len(text) + len(piece)))
            text += piece
        return text, places

    def _label_at(self, text: str) -> int:
        """Character of the label, -1 when it is not where the layout has it."""
        if self._layout.answer_first:
            return 0 if text[:1].isdigit() else -1
        found = text.rfind("\n" + ANSWER + " ")
        place = found + len(ANSWER) + 2
        return place if found >= 0 and text[place : place + 1].isdigit() else -1

    def steps(self, ids: Sequence[int]) -> list[int]:
        """For each token the section it belongs to (index in SECTIONS), LABEL, or -1. A line's end belongs to the line."""
        text, places = self._starts(ids)
        label, owner, offset = self._label_at(text), [-1] * len(text), 0
        for line in text.split("\n"):
            end = min(offset + len(line) + 1, len(text))
            name = line.partition(": ")[0]
            step = LABEL if offset <= label < end else SECTIONS.index(name) if name in SECTIONS else -1
            owner[offset:end] = [step] * (end - offset)
            offset = end
        return [owner[end - 1] if end > start else -1 for start, end in places]

    def deciding(self, ids: Sequence[int]) -> list[int]:
        """For each token 2: the label, 1: the start of a verdict word, 0: neither."""
        text, places = self._starts(ids)
        label = self._label_at(text)
        verdicts = {match.start() for match in VERDICT_WORDS.finditer(text)}
        kinds = []
        for start, end in places:
            kinds.append(2 if start <= label < end else 1 if any(start <= place < end for place in verdicts) else 0)
        return kinds

"""The fixed words of prompts and completions, for the embedded tokenizer: a head or a verdict that fell into pieces would only cost tokens."""

from __future__ import annotations

from lore_lab.cot.words import MEANS, NOTHING, SECTIONS, VERDICTS
from lore_lab.data.example import Guide
from lore_lab.prompts.formats import ANSWER
from lore_lab.prompts.instructions import instruction

_HEADS = ("query", "title", "brand", "category", "attributes", "description", "caption", "reviews", "shop", "price", "knowledge", "judge")


def lexicon() -> list[str]:
    """Lines that hold every fixed word of every template and reasoning recipe once."""
    heads = [f"{start}{head}:" for head in (*_HEADS, *SECTIONS) for start in ("", "\n")] + [f"\n{ANSWER} {label}" for label in range(1, 6)]
    verdicts = [f" {word}" for words in VERDICTS.values() for word in words]
    grades = ("irrelevant", "mismatch", "related", "excellent")
    templates = ["\n".join(instruction("task", grades, Guide(), first)) for first in (True, False)]
    templates += [f"\nexample: \ngrade: {number} {grade}" for number, grade in enumerate(grades, 1)]
    return [*heads, *verdicts, *(f" {word}" for word in (*MEANS, *NOTHING, "not", "is", "as", "and")), *templates]

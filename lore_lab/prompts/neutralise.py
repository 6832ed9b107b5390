"""Text of queries and items is hostile until it went through here: after it, a field is one line of plain words."""

from __future__ import annotations

import re
import unicodedata

_MARKUP = re.compile(r"<[|/!]?|[|/]?>|\[/?INST\]|[{}]", re.IGNORECASE)
# A colon after a word that means something in prompts or completions would let a field open a section of its own.
_SECTION = re.compile(
    r"(?<![^\W_])(query|title|brand|category|attributes|description|caption|reviews|shop|price|knowledge|task|grades?|labels?|rules?|example|judge|"
    r"needs?|know|item|path|answer|system|user|assistant|human)\s*[:：=]",
    re.IGNORECASE,
)


def neutralise(text: str) -> str:
    """One line, no control, format or bidirectional characters, no markup or template brackets, no section heads.

    Idempotent. Letters of every script, digits and ordinary punctuation stay as they are.
    """
    text = "".join(" " if character.isspace() else character for character in text if _allowed(character))
    text = unicodedata.normalize("NFKC", text)  # after the filter: an invisible character may keep two others from composing
    previous = None
    while previous != text:  # removing a bracket can join two halves of another
        previous = text
        text = _SECTION.sub(r"\1 ", _MARKUP.sub(" ", text))
    return " ".join(text.split())


def _allowed(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")

"""Wordings shared by the recipes and the parser, and the cleaning that keeps data from posing as structure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lore_lab.data.example import Facts, Need, Verdict

#: section markers, in the one order they may come
SECTIONS = ("needs", "know", "seen", "path", "rules")
VERDICTS: dict[Verdict, tuple[str, ...]] = {
    "match": ("match", "fits", "agrees"),
    "miss": ("miss", "differs", "conflicts"),
    "unknown": ("unknown", "unclear", "unstated"),
}
MEANS = ("means", "stands-for", "is-for")  #: between a query's words and their meaning; one token each for the parser
NOTHING = ("none", "nothing")
_OUTSIDE = re.compile(r"[^a-z0-9.+&' -]+")
#: words that would state a grade or open an answer; data may hold them, reasoning may not
GRADES = re.compile(r"\b(answer|irrelevant|mismatch|related|excellent|grade|label|l[1-4])\b")


def clean(text: str) -> str:
    """`text` as harmless lower-case words: no markers, separators, line breaks or grade words. Never empty."""
    words = _OUTSIDE.sub(" ", text.lower())
    words = GRADES.sub(" ", words)
    kept = [word for word in words.split() if word not in MEANS and word not in NOTHING]
    while kept and kept[0] in ("not", "is", "as"):
        kept.pop(0)
    return " ".join(kept) or "blank"


def clean_name(text: str) -> str:
    """A dimension or rule name as a single harmless word."""
    return clean(text).replace(" ", "_").strip("._'&+-") or "blank"


def wanted(need: Need) -> str:
    """The meaning of a need: its value, excluded or not."""
    return f"not {clean(need.value)}" if need.negated else clean(need.value)


def facts_in_words(facts: Facts) -> dict[str, str]:
    """needs, path and rules of a pair, a line each, without its label: for hints and worked examples."""
    return {
        "needs": ", ".join(f"{clean_name(need.dimension)} {wanted(need)}" for need in facts.needs),
        "path": ", ".join(f"{clean_name(match.dimension)} {match.verdict}" for match in facts.matches),
        "rules": ", ".join(map(clean_name, facts.rules)) or "none",
    }

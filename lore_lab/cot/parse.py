"""Reads progressive reasoning back, strictly: what does not follow the grammar is a problem, never a guess.

text    := line*            in the order of SECTIONS, each at most once; `needs` and `path` must be there
line    := section ": " entry ((", " | "; ") entry)*
needs   := dimension ["is" | "as"] ["not"] value
know    := words ("means" | "stands-for" | "is-for") meaning
seen    := dimension value
path    := dimension [value] verdict
rules   := rule | "none" | "nothing"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lore_lab.cot.words import MEANS, NOTHING, SECTIONS, VERDICTS

if TYPE_CHECKING:
    from lore_lab.data.example import Verdict

_VERDICT_OF: dict[str, Verdict] = {word: verdict for verdict, words in VERDICTS.items() for word in words}
_ENTRY = re.compile(r"[a-z0-9_.+&'-]+(?: [a-z0-9_.+&'-]+)*")


@dataclass(slots=True)
class ParsedReasoning:
    """What a reasoning text says. `problems` empty: the text follows the grammar in every line."""

    needs: dict[str, str] = field(default_factory=dict)  #: dimension -> wanted value, "not ..." when excluded
    knowledge: dict[str, str] = field(default_factory=dict)  #: words of the query -> meaning
    seen: dict[str, str] = field(default_factory=dict)  #: dimension -> value only the image shows
    path: dict[str, Verdict] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    @property
    def well_formed(self) -> bool:
        return not self.problems


def parse_reasoning(text: str) -> ParsedReasoning:
    """Parse progressive reasoning. Never raises; whatever is wrong is in `problems`, and such entries are left out.

    A section that occurs twice is kept neither time: nobody gets to say a thing and its opposite.
    """
    parsed = ParsedReasoning()
    found: list[tuple[str, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        section, colon, rest = line.partition(": ")
        if not colon or section not in SECTIONS:
            parsed.problems.append(f"line {number} is no section of {', '.join(SECTIONS)}: {line[:40]!r}")
        else:
            found.append((section, rest))
    names = [section for section, _ in found]
    repeated = sorted({name for name in names if names.count(name) > 1})
    parsed.problems += [f"section {name!r} occurs {names.count(name)} times" for name in repeated]
    parsed.problems += [f"section {name!r} is missing" for name in ("needs", "path") if name not in names]
    if names != sorted(names, key=SECTIONS.index):
        parsed.problems.append(f"sections out of order: {', '.join(names)}")
    for section, rest in found:
        if section not in repeated:
            _read_section(parsed, section, rest)
    return parsed


def _read_section(parsed: ParsedReasoning, section: str, rest: str) -> None:
    if section == "rules" and rest in NOTHING:
        return
    for entry in re.split(r"[,;] ", rest):
        problem = _READERS[section](parsed, entry.split(" ")) if _ENTRY.fullmatch(entry) else "not plain words"
        if problem:
            parsed.problems.append(f"{section}: {problem}: {entry[:40]!r}")


def _put(into: dict[str, str], key: str, value: list[str]) -> str:
    if not value:
        return "nothing is said of it"
    if key in into:
        return "said twice"
    into[key] = " ".join(value)
    return ""


def _need(parsed: ParsedReasoning, words: list[str]) -> str:
    value = words[2:] if len(words) > 2 and words[1] in ("is", "as") else words[1:]
    return "nothing is said of it" if value == ["not"] else _put(parsed.needs, words[0], value)


def _know(parsed: ParsedReasoning, words: list[str]) -> str:
    places = [index for index, word in enumerate(words) if word in MEANS]
    if len(places) != 1 or places[0] == 0:
        return f"not of the form 'words {MEANS[0]} meaning'"
    return _put(parsed.knowledge, " ".join(words[: places[0]]), words[places[0] + 1 :])


def _seen(parsed: ParsedReasoning, words: list[str]) -> str:
    return _put(parsed.seen, words[0], words[1:])


def _step(parsed: ParsedReasoning, words: list[str]) -> str:
    verdict = _VERDICT_OF.get(words[-1])
    if verdict is None or len(words) < 2:
        return "no verdict"
    if words[0] in parsed.path:
        return "said twice"
    parsed.path[words[0]] = verdict
    return ""


def _rule(parsed: ParsedReasoning, words: list[str]) -> str:
    if len(words) != 1 or words[0] in NOTHING:
        return "not a rule's name"
    if words[0] in parsed.rules:
        return "said twice"
    parsed.rules += (words[0],)
    return ""


_READERS: dict[str, Callable[[ParsedReasoning, list[str]], str]] = {
    "needs": _need, "know": _know, "seen": _seen, "path": _step, "rules": _rule,
}  # fmt: skip

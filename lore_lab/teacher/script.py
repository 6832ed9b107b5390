"""What a teacher is asked for one pair: the calls of a recipe, their questions from templates, their replies as lines of reasoning.

Calls and recipes are data (templates/calls.yaml). Text of queries and items goes through `neutralise` and stands on lines of its own, so it can
neither end its place in a template nor open another; templates are never made from it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lore_lab.cot.reflection import OPTIMISTIC
from lore_lab.cot.words import NOTHING
from lore_lab.data.example import Example
from lore_lab.prompts.formats import ResponseFormat, response_format
from lore_lab.prompts.neutralise import neutralise
from lore_lab.teacher.reading import harmless, read_reply, schema
from lore_lab.teacher.replies import Message, Unusable

FOLDER = Path(__file__).parent / "templates"
LAYOUTS = ("reason_first", "answer_first")  #: reasoning must be fit for both
#: (messages, schema of the reply, number of the try) -> the first choice
Ask = Callable[[Sequence[Message], Mapping[str, Any], int], Mapping[str, Any]]


@dataclass(frozen=True)
class Call:
    """One question. lines: name of a line -> what it shall say. grade: the reply states one too. needs: item field it is about."""

    name: str
    lines: Mapping[str, str]
    grade: bool = False
    needs: str | None = None


@functools.cache
def _table() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / "calls.yaml").read_text(encoding="utf-8"))
    return content


def calls(recipe: str, switches: Any) -> list[Call]:
    """The calls of `recipe` that `switches` (cot.*) leave. Raises KeyError for a step that names none."""
    chosen = []
    for step in _table()["recipes"][recipe]:
        name, *condition = step.split(" ")
        if not condition or getattr(switches, condition[1]) is (condition[0] == "if"):
            chosen.append(Call(name, **_table()["calls"][name]))
    return chosen


@dataclass
class Script:
    """settings: `teacher`. cot: its switches. fields: item fields shown, in order. grades: names from worst to best. rules: sentences."""

    settings: Any
    cot: Any
    fields: Sequence[str]
    grades: Sequence[str]
    rules: Sequence[str]
    ask: Ask

    def __post_init__(self) -> None:
        self._calls = calls(self.settings.recipe, self.cot)
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        self._layouts: list[ResponseFormat] = [response_format(name, len(self.grades)) for name in LAYOUTS]

    def reasoning(self, example: Example) -> str:
        """Lines of reasoning that lead to the pair's training label and do not state it. Raises Unusable."""
        lines: list[str] = []
        for call in self._calls:
            if call.needs is None or self._shown(example, call.needs):
                lines += self._lines(call, example, lines)
        text = "\n".join(lines)
        for layout in self._layouts:
            try:
                layout.render(example.label, text)
            except ValueError as error:
                raise Unusable("no target", str(error)) from None
        return text

    def _lines(self, call: Call, example: Example, earlier: Sequence[str]) -> list[str]:
        """The lines of the first usable reply. Raises what made the last one unusable."""
        messages = self.messages(call, example, earlier)
        form = schema(list(call.lines), len(self.grades) if call.grade else None)
        label = example.label + 1 if call.grade else None
        for attempt in range(self.settings.tries):
            try:
                return self._cleaned(read_reply(self.ask(messages, form, attempt), list(call.lines), label))
            except Unusable as error:
                failure = Unusable(error.reason, f"{call.name}: {error.detail}")
        raise failure

    def _cleaned(self, texts: Mapping[str, str]) -> list[str]:
        """A line that says nothing is left out; one without a word, or too long, makes the reply unusable."""
        lines = []
        for name, raw in texts.items():
            text = harmless(raw, self.grades)
            if not any(map(str.isalpha, text)):
                raise Unusable("empty", f"{name}: {raw[:200]}")
            if len(text.split()) > self.settings.line_words:
                raise Unusable("too long", f"{name}: {len(text.split())} words")
            if text.strip(" .") != NOTHING[1]:
                lines.append(text if name.startswith("(") else f"{name}: {text}")
        return lines

    def messages(self, call: Call, example: Example, earlier: Sequence[str]) -> list[Message]:
        """The call's question about `example`."""
        fields = [(name, self._shown(example, name)) for name in self.fields]
        question = self._templates.get_template(f"{call.name}.jinja").render(
            query=self._words(example.query),
            fields=[(name, text) for name, text in fields if text],
            grades=self.grades,
            rules=self.rules,
            label=example.label + 1,
            wrong=self._wrong(example) + 1,
            earlier=earlier,
            lines=call.lines,
            asks_grade=call.grade,
            line_words=self.settings.line_words,
        )
        system = self._templates.get_template("system.jinja").render()
        return [{"role": "system", "content": system.strip()}, {"role": "user", "content": question.strip()}]

    def _shown(self, example: Example, name: str) -> str:
        return self._words(example.item.get(name, "")) if name in self.fields else ""

    def _words(self, text: str) -> str:
        return " ".join(neutralise(text).split()[: self.settings.field_words])

    def _wrong(self, example: Example) -> int:
        """A wrong grade for Decision Reflection, the same for every run: too kind at LREF's rate where both ways are open."""
        rng = random.Random(f"{self.settings.seed}/{example.id}")
        above, below = range(example.label + 1, len(self.grades)), range(example.label)
        kind = not below or (bool(above) and rng.random() < OPTIMISTIC)
        return rng.choice(above if kind else below)

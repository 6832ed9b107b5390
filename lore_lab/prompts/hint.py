"""Ground-truth hints in a prompt, for guided replay: what a training example's facts say, in the words of the reasoning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lore_lab.cot.words import facts_in_words
from lore_lab.data.example import Facts
from lore_lab.prompts.render import Lines, Renderer

ALLOWANCE = 64  #: tokens a hint may add to `prompt.max_tokens`; assumed


def hint_lines(facts: Facts, what: str) -> list[str]:
    """what: needs | path | rules | all. Never the label itself."""
    return [f"hint {name}: {line}" for name, line in facts_in_words(facts).items() if what in ("all", name)]


@dataclass
class HintedRenderer(Renderer):
    """A renderer whose prompts carry `hint`, before the item's words or right before the answer."""

    hint: tuple[str, ...] = ()
    placement: str = "end"

    def text(self, query: str, fields: Sequence[tuple[str, str]], worked: Sequence[Lines] = ()) -> str:
        lines = super().text(query, fields, worked).splitlines()
        place = len(lines) - 1 if self.placement == "end" else len(self.lines) + sum(map(len, worked))
        return "\n".join([*lines[:place], *self.hint, *lines[place:]]) + "\n"

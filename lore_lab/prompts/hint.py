"""Ground-truth hints in a prompt, for guided replay: what a training example's facts say, in the words of the reasoning."""

from __future__ import annotations

from dataclasses import dataclass

from lore_lab.cot.words import clean_name, wanted
from lore_lab.data.example import Facts
from lore_lab.prompts.render import Renderer

ALLOWANCE = 64  #: tokens a hint may add to `prompt.max_tokens`; assumed


def hint_lines(facts: Facts, what: str) -> list[str]:
    """what: needs | path | rules | all. Never the label itself."""
    lines = {
        "needs": ", ".join(f"{clean_name(need.dimension)} {wanted(need)}" for need in facts.needs),
        "path": ", ".join(f"{clean_name(match.dimension)} {match.verdict}" for match in facts.matches),
        "rules": ", ".join(map(clean_name, facts.rules)) or "none",
    }
    return [f"hint {name}: {line}" for name, line in lines.items() if what in ("all", name)]


@dataclass
class HintedRenderer(Renderer):
    """A renderer whose prompts carry `hint`, before the item's words or right before the answer."""

    hint: tuple[str, ...] = ()
    placement: str = "end"

    def text(self, query: str, fields: object) -> str:
        lines = super().text(query, fields).splitlines()  # type: ignore[arg-type]
        place = len(lines) - 1 if self.placement == "end" else len(self.lines)
        return "\n".join([*lines[:place], *self.hint, *lines[place:]]) + "\n"

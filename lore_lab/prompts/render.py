"""An example in words, under a token budget.

Policy when the budget is short: worked examples go first, from the last; then fields are shortened from the last of `features.fields`
to the first; the instruction and the query are never cut; when they alone do not fit, that is an error before any training. What was cut
is counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lore_lab.cot.words import facts_in_words
from lore_lab.data.example import Example, Guide
from lore_lab.prompts.instructions import instruction
from lore_lab.prompts.neutralise import neutralise

if TYPE_CHECKING:
    from lore_lab.config.schema import FeaturesConfig, PromptConfig


#: what Llama's chat templates are told that today is, their own default: a prompt must not change overnight
_DATE = "26 Jul 2024"
_WORKED = "worked examples"  #: what their cuts are counted under; no field has a name of two words

Lines = Sequence[str]  #: of one worked example


class PromptTooLong(ValueError):
    """Instruction and query alone exceed `prompt.max_tokens`."""


@dataclass
class Renderer:
    """Renders examples for one tokenizer. `cut` counts, by field name, how often it was shortened or dropped; `rendered` all examples."""

    tokenizer: Any
    features: FeaturesConfig
    prompt: PromptConfig
    grades: Sequence[str]
    reason_first: bool
    guide: Guide = field(default_factory=Guide)
    head: Sequence[str] | None = None  #: lines before the query; None: as `instruction` writes them
    cut: Counter[str] = field(default_factory=Counter)
    rendered: int = 0

    def __post_init__(self) -> None:
        written = instruction(self.prompt.template, self.grades, self.guide, self.reason_first)
        self.lines = written if self.head is None else list(self.head)
        self._chat = getattr(self.tokenizer, "chat_template", None) is not None
        own = [
            *getattr(self.tokenizer, "all_special_tokens", ()),
            *getattr(self.tokenizer, "get_added_vocab", dict)(),
        ]  # <think> is only added
        self._special = [token for token in dict.fromkeys(own) if token.strip()]
        self.worked = [(example.id, self._work(example)) for example in self.guide.worked[: self.prompt.examples]]

    def ids(self, example: Example) -> list[int]:
        """Token ids of the prompt, at most `prompt.max_tokens`, ending where the completion begins."""
        query, fields = self._plain(example.query), self._shown(example)
        worked = [lines for name, lines in self.worked if name != example.id]  # a prompt does not hold its own answer
        ids = self._encode(query, fields, worked)
        shortened: set[str] = set()
        while worked and len(ids) > self.prompt.max_tokens:
            worked.pop()
            shortened.add(_WORKED)
            ids = self._encode(query, fields, worked)
        while len(ids) > self.prompt.max_tokens:
            if not fields:
                raise PromptTooLong(
                    f"example {example.id}: instruction and query need {len(ids)} tokens, prompt.max_tokens={self.prompt.max_tokens}; "
                    f"raise it or take a shorter prompt.template than {self.prompt.template!r}"
                )
            name, text = fields.pop()
            shortened.add(name)
            fields += self._beginning(query, fields, name, text.split())
            ids = self._encode(query, fields, ())
        self.rendered += 1
        self.cut.update(shortened)
        return ids

    def _shown(self, example: Example) -> list[tuple[str, str]]:
        """The fields that have text, query's first, each on one harmless line."""
        fields = [(name, self._plain(example.query_fields.get(name, ""))) for name in self.features.query_fields]
        fields += [(name, self._plain(example.item.get(name, ""))) for name in self.features.fields]
        return [(name, text) for name, text in fields if text]

    def _work(self, example: Example) -> Lines:
        """A pair with its grade and, where its facts are known, why, in the order in which the answer is asked for."""
        facts = facts_in_words(example.facts) if example.facts else {}
        why = [f"{name}: {facts[name]}" for name in ("path", "rules") if name in facts]
        grade = f"grade: {example.label + 1} {self.grades[example.label]}"
        answer = [*why, grade] if self.reason_first else [grade, *why]
        return [f"example: {self._plain(example.query)}", *(f"{name}: {text}" for name, text in self._shown(example)), *answer]

    def _plain(self, text: str) -> str:
        """Neutralised, and without the tokenizer's own special tokens, whatever they look like: a chat template would let them act."""
        text = neutralise(text)
        while found := [token for token in self._special if token in text]:
            text = " ".join(text.replace(found[0], " ").split())
        return text

    def _beginning(self, query: str, fields: list[tuple[str, str]], name: str, words: list[str]) -> list[tuple[str, str]]:
        """The last field with as many of its first words as fit, but not all; nothing when not even one does."""

        def length(count: int) -> int:
            return len(self._encode(query, [*fields, (name, " ".join(words[:count]))], ()))

        keep = bisect_right(range(1, len(words)), self.prompt.max_tokens, key=length)
        return [(name, " ".join(words[:keep]))] if keep else []

    def text(self, query: str, fields: Sequence[tuple[str, str]], worked: Sequence[Lines] = ()) -> str:
        told = [*self.lines, *(line for lines in worked for line in lines)]
        return "\n".join([*told, f"query: {query}", *(f"{name}: {text}" for name, text in fields), "judge:"]) + "\n"

    def _encode(self, query: str, fields: Sequence[tuple[str, str]], worked: Sequence[Lines]) -> list[int]:
        text = self.text(query, fields, worked)
        if self._chat:
            message = [{"role": "user", "content": text}]
            ids = self.tokenizer.apply_chat_template(
                message, add_generation_prompt=True, tokenize=True, return_dict=False, enable_thinking=False, date_string=_DATE
            )
            return list(ids)
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def report(self) -> dict[str, int]:
        """Counts for a stage's metrics: prompts rendered, and how often each field was cut."""
        return {"prompts": self.rendered} | {f"cut/{name}": count for name, count in sorted(self.cut.items())}

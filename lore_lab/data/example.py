"""The one record every source yields and everything downstream reads: a (query, item) pair.

Imports nothing of the lab: prompts, rewards and evaluation all depend on this module, never the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Capability = Literal["general", "hard", "visual", "rule"]
Frequency = Literal["head", "torso", "tail"]
Verdict = Literal["match", "miss", "unknown"]
#: train, validation and the in-the-wild test share the query distribution; `unseen` holds combinations never trained on;
#: `general|hard|visual|rule` are the fixed benchmark subsets.
Split = Literal["train", "validation", "wild", "unseen", "general", "hard", "visual", "rule"]

CAPABILITIES: tuple[Capability, ...] = ("general", "hard", "visual", "rule")
FREQUENCIES: tuple[Frequency, ...] = ("head", "torso", "tail")


@dataclass(frozen=True, slots=True)
class Need:
    """One demand of a query on one attribute dimension."""

    dimension: str  #: e.g. "colour"
    value: str  #: canonical wanted value, e.g. "red"
    surface: str  #: the words of the query that state it, e.g. "crimson"
    knowledge: str = ""  #: note that resolves the surface to the value ("" when the surface states it outright)
    negated: bool = False  #: "without hood"


@dataclass(frozen=True, slots=True)
class Match:
    """How the item answers one need."""

    dimension: str
    verdict: Verdict
    found: str  #: the item's true value, "" when the item has none
    evidence: str  #: visible field that shows it: title | attributes | description | caption | "" when unknown


@dataclass(frozen=True, slots=True)
class Facts:
    """What a source knows of the right judgement; empty for human-rated sources."""

    needs: tuple[Need, ...]
    matches: tuple[Match, ...]  #: same order and length as `needs`
    rules: tuple[str, ...]  #: ids of the rules fired, in precedence order
    hops: int = 0  #: steps of reasoning a perfect judge needs


@dataclass(frozen=True, slots=True)
class Example:
    """One pair. `label` and `gold` are grade indices in range(len(source.grades)), 0 = least relevant."""

    id: str  #: unique within the source: "<split>-<index>"
    query_id: str
    item_id: str
    query: str
    item: Mapping[str, str]  #: visible fields by name (title, brand, category, attributes, description, caption, reviews, shop, price)
    label: int  #: what an annotator said: used for training
    gold: int  #: what is true: used for evaluation
    difficulty: float  #: 0 easiest .. 1 hardest, the source's own grade; nan when the source has none
    capability: Capability = "general"
    frequency: Frequency = "torso"
    query_fields: Mapping[str, str] = field(default_factory=dict)  #: query-side visible extras, e.g. "knowledge" notes
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Guide:
    """What the people who grade were told; every part may be empty. A prompt says as much of it as its template has room for."""

    definitions: tuple[str, ...] = ()  #: what each grade means, from worst to best; one for every grade, or none at all
    rules: Mapping[str, str] = field(default_factory=dict)  #: rule id -> the sentence that states it, in precedence order
    core: tuple[str, ...] = ()  #: ids of the rules that a short guide states
    worked: tuple[Example, ...] = ()  #: training pairs whose label is right, to be shown with it; the same whatever data.size is


class Source(Protocol):
    """Where examples come from. Deterministic: the same arguments yield the same examples on every machine."""

    name: str
    grades: tuple[str, ...]  #: grade names from worst to best, e.g. ("irrelevant", "mismatch", "related", "excellent")
    relevant_from: int  #: grades >= this index are relevant (acc@2 and optimistic errors use it)

    @property
    def guide(self) -> Guide:
        """What is known of how its pairs are to be graded."""
        ...

    def size(self, split: Split) -> int | None:
        """Examples in `split`; None when there is no end (a generator); 0 when the source has no such split."""
        ...

    def examples(self, split: Split, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        """Examples `start <= index < stop` of `split`, in index order, in constant memory."""
        ...

    def texts(self, count: int) -> Iterator[str]:
        """`count` unlabelled in-domain texts for the tokenizer and the base model (no relevance label in any of them)."""
        ...

    def report(self) -> dict[str, Any]:
        """What was read, repaired, dropped and why: counts for the data stage's manifest."""
        ...

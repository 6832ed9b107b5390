"""The world as a Source: any example by (split, index), nothing held in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from lore_lab.data.example import Capability, Example, Guide, Split
from lore_lab.data.worked import worked_examples
from lore_lab.data.world.draws import Draw, number
from lore_lab.data.world.items import Card, CardMaker, Item, ItemMaker
from lore_lab.data.world.judge import Gold, Judge
from lore_lab.data.world.queries import OCTAVES, Query, QueryMaker
from lore_lab.data.world.tables import load_tables
from lore_lab.data.world.texts import TextMaker

if TYPE_CHECKING:
    from PIL.Image import Image

    from lore_lab.config.world import WorldConfig
    from lore_lab.data.world.rules import Rule, RuleBook

GRADES = ("irrelevant", "mismatch", "related", "excellent")
FIXED = 1000  #: pairs of every test split, whatever the training size
POOL_OF: dict[Split, str] = {"train": "train", "validation": "validation", "unseen": "unseen"}  #: all others: "test"
BENCHMARK: tuple[Capability, ...] = ("general", "hard", "visual", "rule")
PATIENCE = (500, 4000)  #: draws after which a benchmark pair takes any theme, and after which it gives up


class WorldSource:
    """The embedded simulator. Implements `lore_lab.data.example.Source`.

    Deterministic by (config.seed, split, index): the same bytes on every machine, in any order of access, in constant memory.
    Raises ValueError for a split it does not have.
    """

    name = "world"
    grades = GRADES
    relevant_from = 2

    ranks = 2**OCTAVES - 1

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.tables = load_tables(config.profile, config.seed)
        self._queries = QueryMaker(config, self.tables)
        self._items = ItemMaker(self.tables)
        self._cards = CardMaker(config, self.tables)
        self._judge = Judge(self.tables)
        self._draw = Draw()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rule book in precedence order."""
        return self.book.rules

    @property
    def book(self) -> RuleBook:
        """The rule book itself: it grades from matches and fired rules."""
        return self._judge.book

    @cached_property
    def guide(self) -> Guide:
        """The rule book in words, and worked examples from the beginning of the training pairs."""
        rules = {rule.id: rule.text for rule in self.rules}
        core = tuple(rule.id for rule in self.rules if rule.core)
        worked = worked_examples((self.example("train", index) for index in itertools.count()), len(GRADES))
        return Guide(tuple(self.tables.rules["grades"].values()), rules, core, worked)

    def size(self, split: Split) -> int:
        """Examples in `split`: the configured sizes, 1,000 for each test split."""
        if split in ("wild", "unseen", *BENCHMARK):
            return FIXED
        if split not in ("train", "validation"):
            raise ValueError(f"the world has no split {split!r}; it has train, validation, wild, unseen, {', '.join(BENCHMARK)}")
        return self.config.size if split == "train" else self.config.validation_size

    def examples(self, split: Split, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        """Examples `start <= index < stop` of `split`; a `stop` beyond its size (or None) ends there."""
        end = self.size(split)
        for index in range(start, end if stop is None else min(stop, end)):
            yield self.example(split, index)

    def example(self, split: Split, index: int) -> Example:
        """One example, by itself. The index may lie beyond the split's size: the generator has no end."""
        query, _, card, verdict = self._pair(split, index)
        return self._example(f"{split}-{index}", f"i{number(self.config.seed, 'item', split, index):016x}", query, card, verdict)

    def candidates(self, rank: int, count: int) -> list[Example]:
        """The query of a rank of the test pool, 1 (asked most) to `ranks`, with `count` items that somebody might be shown for it."""
        query, found = self._queries.by_rank("test", rank), []
        for place in range(count):
            self._draw.restart(number(self.config.seed, "candidates", rank, place))
            card = self._cards.write(self._draw, item := self._items.draw(self._draw, query, everything=False))
            item_id = f"i{number(self.config.seed, 'candidate', rank, place):016x}"
            verdict = self._judge.judge(query, item, card.evidence)
            found.append(self._example(f"rank-{rank}-{place}", item_id, query, card, verdict))
        return found

    def _example(self, name: str, item_id: str, query: Query, card: Card, verdict: Gold) -> Example:
        """The pair for the record; draws the annotator's label."""
        return Example(
            id=name, query_id=query.id, item_id=item_id,
            query=query.text, item=card.fields, label=self._annotate(verdict.grade), gold=verdict.grade,
            difficulty=verdict.difficulty, capability=verdict.capability, frequency=query.frequency,
            query_fields={"knowledge": query.notes}, facts=verdict.facts,
        )  # fmt: skip

    def item(self, split: Split, index: int) -> Item:
        """What is true of the item of one example, for drawing its image."""
        return self._pair(split, index)[1]

    def image(self, example_id: str) -> Image:
        """The 64 x 64 image of the item of one example, by the example's id. Raises ValueError for an id that is not the world's."""
        from lore_lab.data.world.images import draw_item  # drawn on demand: text needs no Pillow

        split, _, index = example_id.rpartition("-")
        if not index.isdigit():
            raise ValueError(f"{example_id!r} is no example of the world; its ids are <split>-<index>")
        return draw_item(self.item(cast(Split, split), int(index)))

    def texts(self, count: int) -> Iterator[str]:
        """`count` unlabelled texts: item cards, captions, queries spelled out, notes, rule sentences."""
        return TextMaker(self.config, self.tables, self.rules, self.free_pair).texts(count)

    def captions(self, count: int) -> Iterator[tuple[Image, str]]:
        """`count` images of the items that `texts` writes of, and what the captioner says of them."""
        from lore_lab.data.world.images import draw_item

        for index in range(count):
            _, item, card = self._free(index)
            yield draw_item(item), card.fields["caption"]

    def free_pair(self, index: int) -> tuple[Query, Card]:
        """A query of the training pool and the card of an item, for texts. Apart from every split's examples."""
        query, _, card = self._free(index)
        return query, card

    def _free(self, index: int) -> tuple[Query, Item, Card]:
        self._draw.restart(number(self.config.seed, "texts", index))
        query = self._queries.draw(self._draw, "train")
        item = self._items.draw(self._draw, query, everything=False)
        return query, item, self._cards.write(self._draw, item)

    def report(self) -> dict[str, Any]:
        """Nothing is read, repaired or dropped: the world's own dimensions."""
        tables = self.tables
        return {
            "source": self.name, "profile": self.config.profile, "seed": self.config.seed, "repaired": 0, "dropped": 0,
            "categories": len(tables.categories), "brands": len(tables.brands), "rules": len(self.rules),
            "knowledge": len(tables.knowledge) + len(tables.substitutes),
        }  # fmt: skip

    def _pair(self, split: Split, index: int) -> tuple[Query, Item, Card, Gold]:
        """Draw one pair; leaves the generator where the annotator takes over."""
        draw, pool, everything = self._draw, POOL_OF.get(split, "test"), split == "unseen"
        self.size(split)
        theme = self._theme(split, index)
        for attempt in range(PATIENCE[1]):
            draw.restart(number(self.config.seed, split, index, attempt))
            query = self._queries.draw(draw, pool)
            item = self._items.draw(draw, query, everything)
            card = self._cards.write(draw, item)
            verdict = self._judge.judge(query, item, card.evidence)
            if split not in BENCHMARK:
                return query, item, card, verdict
            fits = verdict.capability == split and verdict.grade == index % len(GRADES)
            if fits and (theme == "any" or theme in verdict.themes or attempt >= PATIENCE[0]):
                return query, item, card, verdict
        raise RuntimeError(f"no {split} pair {index} in {PATIENCE[1]} draws: the profile is too poor for this subset")

    def _theme(self, split: Split, index: int) -> str:
        """What a benchmark pair is to turn on. Every grade occurs equally often with every theme, so that no word of query or
        item gives the grade away by itself."""
        themes: list[str] = self.tables.profile["themes"].get(split, ["any"])
        return themes[index // len(GRADES) % len(themes)]

    def _annotate(self, gold: int) -> int:
        """What an annotator says: at the configured rate a neighbouring grade, mostly the one above. The ends have one neighbour."""
        if self._draw.random() >= self.config.label_noise_rate:
            return gold
        up = self._draw.random() < self.config.optimistic_share
        if gold == 0:
            return 1
        return gold + 1 if up and gold < len(GRADES) - 1 else gold - 1

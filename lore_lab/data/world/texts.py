"""Unlabelled in-domain texts: what a base model may have read before it sees a single judged pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from lore_lab.data.world.draws import Draw, number

if TYPE_CHECKING:
    from lore_lab.config.world import WorldConfig
    from lore_lab.data.world.items import Card
    from lore_lab.data.world.queries import Query
    from lore_lab.data.world.rules import Rule
    from lore_lab.data.world.tables import Tables


class TextMaker:
    """Writes texts about items, queries and the world. None of them holds a judgement of a pair."""

    def __init__(self, config: WorldConfig, tables: Tables, rules: Sequence[Rule], pair: Callable[[int], tuple[Query, Card]]) -> None:
        """pair: index -> a query and an item card of the training side."""
        self._config, self._tables, self._pair = config, tables, pair
        self._sentences = [*(rule.text for rule in rules), *tables.rules["grades"].values()]
        self._notes = [entry.note + "." for entry in (*tables.knowledge, *tables.substitutes)]
        self._draw = Draw()

    def texts(self, count: int) -> Iterator[str]:
        """`count` texts; text i does not depend on `count`."""
        kinds = (
            self._card,
            self._query,
            self._card,
            self._caption,
            self._query,
            self._card,
            self._query,
            self._values,
            self._note,
            self._rule,
        )
        for index in range(count):
            query, card = self._pair(index)
            self._draw.restart(number(self._config.seed, "text", index))
            yield kinds[index % len(kinds)](query, card)

    def _card(self, query: Query, card: Card) -> str:
        """An item as a shop page shows it, its fields named, the title first."""
        names = ["brand", "category", "attributes", "description", "caption", "reviews", "shop", "price"]
        self._draw.mix(names)
        shown = [name for name in names[: 3 + int(self._draw.random() * 6)] if card.fields[name]]
        return "\n".join(f"{name}: {card.fields[name]}" for name in ["title", *shown])

    def _caption(self, query: Query, card: Card) -> str:
        return f"title: {card.fields['title']}\ncaption: {card.fields['caption']}"

    def _query(self, query: Query, card: Card) -> str:
        """A query and what it asks for."""
        needs = [f"{need.dimension} {'not ' if need.negated else ''}{need.value}" for need in query.needs]
        self._draw.mix(needs)
        lines = [f"query: {query.text}", f"needs: {', '.join(needs)}"]
        lines[1:1] = list(dict.fromkeys(f"know: {need.knowledge}" for need in query.needs if need.knowledge))
        return "\n".join(lines)

    def _values(self, query: Query, card: Card) -> str:
        """What values a dimension has, and whether two of them are the same: knowledge of words, not of pairs."""
        category = self._tables.categories[self._draw.pick(self._tables.names)]
        slot = self._draw.pick(category.slots)
        one, two = self._draw.pick(slot.values), self._draw.pick(slot.values)
        if self._draw.random() < 0.4:
            two = one
        return f"{slot.name} {one} and {slot.name} {two} are {'the same' if one == two else 'not the same'}."

    def _note(self, query: Query, card: Card) -> str:
        return self._draw.pick(self._notes)

    def _rule(self, query: Query, card: Card) -> str:
        return self._draw.pick(self._sentences)

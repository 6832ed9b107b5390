"""Training pairs from a catalogue nobody has rated: needs drawn from a product's attributes, labels by attribute agreement.

A small model can so learn the words and the matching on real product text before it sees rated pairs. The labels know nothing of
what people find relevant: they are for training and for checks, never a benchmark.
"""

from __future__ import annotations

import json
import math
import random
import re
import sqlite3
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lore_lab.data.example import Example, Facts, Guide, Match, Need, Split
from lore_lab.data.leaks import normalise_query
from lore_lab.data.table.ingest import digest, load_items, products_table
from lore_lab.data.table.labels import Labels
from lore_lab.data.table.problems import TableError, stop
from lore_lab.data.table.source import check_config, configured_guide, repeat_texts
from lore_lab.data.table.store import SPLITS, Store

if TYPE_CHECKING:
    from lore_lab.config.table import TableConfig

#: "name: value; name: value", and "name:value|name:value" as WANDS writes it
_PARTS = re.compile(r"[;|]")
#: products looked at to find a sibling
_NEARBY = 24
#: drawn queries tried until one falls into the wanted split
_TRIES = 10_000


class CatalogueSource:
    """A Source without end (train is cut at data.size): example i belongs to query i // items_per_query.

    Deterministic by (data.seed, split, index). Queries are dealt to splits by their hash, so no two splits share one.
    """

    def __init__(self, config: TableConfig) -> None:
        check_config(config)
        self.config, self.name = config, config.name
        labels = Labels(config.labels)
        self.grades, self.relevant_from = labels.grades, labels.relevant_from
        self._table = products_table(config)
        if not set(config.catalogue.dimensions) & set(config.products.fields):
            raise TableError(f"data.catalogue.dimensions={config.catalogue.dimensions} has none of the fields in data.products.fields")

    @cached_property
    def _store(self) -> Store:
        store = Store(self.config.scratch)
        load_items(self._table, store, self.config.products.id)
        stop({"products": self._table.problems})
        store.db.execute("CREATE TABLE traits (dimension TEXT, value TEXT, number INTEGER)")
        for number, fields in store.db.execute("SELECT number, fields FROM items"):
            traits = self._traits(json.loads(fields))
            store.db.executemany("INSERT INTO traits VALUES (?, ?, ?)", [(*trait, number) for trait in traits.items()])
        store.db.execute("CREATE INDEX trait ON traits (dimension, value, number)")
        store.db.execute("CREATE TABLE anchors AS SELECT DISTINCT number FROM traits ORDER BY number")
        store.finish()
        return store

    @cached_property
    def _db(self) -> sqlite3.Connection:
        """One reader for the many small look-ups of drawing."""
        return self._store.connect()

    def _one(self, sql: str, *values: Any) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._db.execute(sql, values).fetchone()
        return found

    @cached_property
    def _anchors(self) -> int:
        """Products that have a trait."""
        count = self._one("SELECT count(*) FROM anchors")[0]
        if count < 2:
            raise TableError(f"{self._table.paths[0].name}: {count} of {self._table.rows} products have an attribute to draw needs from")
        return int(count)

    def size(self, split: Split) -> int | None:
        if split == "train" and self.config.size is not None:
            return self.config.size
        return None if split in SPLITS else 0

    def examples(self, split: Split, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        """Pairs query by query; in train, validation and wild alike."""
        if split not in SPLITS:
            return
        end = self.size(split)
        yield from self._pairs(split, start, end if stop is None else stop if end is None else min(stop, end))

    @cached_property
    def guide(self) -> Guide:
        """`data.guide`, and worked examples from the beginning of the training pairs."""
        return configured_guide(self.config, self._pairs("train", 0, None))

    def _pairs(self, split: Split, start: int, stop: int | None) -> Iterator[Example]:
        width, index = self.config.catalogue.items_per_query, start
        while stop is None or index < stop:
            judged = self._query(split, index // width)
            for offset in range(index % width, width):
                if stop is not None and index >= stop:
                    return
                yield self._example(split, index, *judged, offset)
                index += 1

    def items(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(id, visible fields) of every product."""
        for item_id, fields in self._store.rows("SELECT id, fields FROM items ORDER BY number"):
            yield item_id, json.loads(fields)

    def texts(self, count: int) -> Iterator[str]:
        """`count` product texts, starting over when the products are exhausted."""
        yield from repeat_texts(self.items, count)

    def report(self) -> dict[str, Any]:
        """What was read of the catalogue."""
        sql = "SELECT count(*), count(DISTINCT dimension) FROM traits"
        traits, dimensions = self._one(sql)
        made = {"products": self._anchors, "traits": traits, "dimensions": dimensions}
        return {"source": self.name, "tables": {"products": self._table.report()}, "catalogue": made}

    # --- drawing

    def _traits(self, fields: Mapping[str, str]) -> dict[str, str]:
        """dimension -> value, of the fields that needs are drawn from."""
        traits: dict[str, str] = {}
        for name in self.config.catalogue.dimensions:
            text = fields.get(name, "")
            parts = [part.partition(":") for part in _PARTS.split(text)]
            named = {dimension.strip(): value.strip() for dimension, colon, value in parts if colon and dimension.strip() and value.strip()}
            if named:
                traits |= named
            elif text:
                traits[name] = text
        return traits

    def _item(self, number: int) -> tuple[str, dict[str, str]]:
        item_id, fields = self._one("SELECT id, fields FROM items WHERE number = ?", number)
        return item_id, json.loads(fields)

    def _anchor(self, rng: random.Random) -> int:
        return int(self._one("SELECT number FROM anchors WHERE rowid = ?", rng.randint(1, self._anchors))[0])

    def _query(self, split: str, index: int) -> tuple[str, tuple[Need, ...], list[int]]:
        """(text, needs, numbers of the products judged) of query `index`; the first product is the one it was drawn from."""
        for attempt in range(_TRIES):
            rng = random.Random(f"{self.config.seed}/{split}/{index}/{attempt}")
            anchor = self._anchor(rng)
            drawn = self._draw(self._item(anchor)[1], rng)
            if drawn and self._split(drawn[0]) == split:
                return *drawn, [anchor, *self._others(anchor, drawn[1], rng)]
        raise TableError(f"{self.name}: no query of {split} found in {_TRIES} draws; the catalogue has too few attribute values")

    def _split(self, text: str) -> str:
        split = self.config.split
        share = (digest(split.seed, digest(normalise_query(text))) + 2**63) / 2**64
        return "wild" if share < split.wild else "validation" if share < split.wild + split.validation else "train"

    def _draw(self, fields: Mapping[str, str], rng: random.Random) -> tuple[str, tuple[Need, ...]] | None:
        """A query for a product with these fields; None when it has no attribute short enough."""
        settings = self.config.catalogue
        kind = fields.get(settings.kind_field or "", "")
        traits = {
            dimension: value
            for dimension, value in self._traits(fields).items()
            if value != "no" and dimension != settings.kind_field and len(value.split()) <= settings.max_words
        }
        if not traits:
            return None
        chosen = rng.sample(sorted(traits), min(len(traits), rng.randint(1, settings.max_needs)))
        needs = tuple(Need(dimension, traits[dimension], _surface(dimension, traits[dimension])) for dimension in chosen)
        return " ".join([kind] * bool(kind) + [need.surface for need in needs]), needs

    def _others(self, anchor: int, needs: tuple[Need, ...], rng: random.Random) -> list[int]:
        """The other products judged: siblings agree on a need, drawn from those that differ on another where there are such."""
        settings, chosen = self.config.catalogue, [anchor]
        while len(chosen) < settings.items_per_query:
            number = self._sibling(needs, chosen, rng) if rng.random() < settings.sibling_share else None
            if number is None:
                number = self._anchor(rng)
                if number in chosen and self._anchors > len(chosen):
                    continue
            chosen.append(number)
        return chosen[1:]

    def _sibling(self, needs: tuple[Need, ...], chosen: list[int], rng: random.Random) -> int | None:
        shared = rng.choice(needs)
        sql = "SELECT number FROM traits WHERE dimension = ? AND value = ? AND number >= ? ORDER BY number LIMIT ?"
        begin = self._anchor(rng)
        found = [row[0] for row in self._db.execute(sql, (shared.dimension, shared.value, begin, _NEARBY)) if row[0] not in chosen]
        rng.shuffle(found)
        differing = (n for n in found if any(self._verdict(need, self._traits(self._item(n)[1])) != "match" for need in needs))
        return next(differing, found[0] if found else None)

    # --- judging

    @staticmethod
    def _verdict(need: Need, traits: Mapping[str, str]) -> Any:
        value = traits.get(need.dimension)
        return "unknown" if value is None else "match" if value.casefold() == need.value.casefold() else "miss"

    def _example(self, split: str, index: int, query: str, needs: tuple[Need, ...], items: list[int], offset: int) -> Example:
        item_id, fields = self._item(items[offset])
        traits = self._traits(fields)
        matches = tuple(
            Match(need.dimension, self._verdict(need, traits), traits.get(need.dimension, ""), self._evidence(need, fields))
            for need in needs
        )
        agreement = sum(match.verdict == "match" for match in matches) / len(matches)
        grade = agreement_grade(agreement, len(self.grades))
        key = f"{digest(normalise_query(query)) & (2**64 - 1):016x}"
        facts = Facts(needs, matches, (), len(needs))
        return Example(f"{split}-{index}", key, item_id, query, fields, grade, grade, math.nan, facts=facts)

    def _evidence(self, need: Need, fields: Mapping[str, str]) -> str:
        """The field that shows the need's dimension, "" when none does."""
        for name in self.config.catalogue.dimensions:
            if need.dimension in self._traits({name: fields.get(name, "")}):
                return name
        return ""


def agreement_grade(agreement: float, grades: int) -> int:
    """The grade of an item that meets this share of a query's needs: all is the best, none the worst, the rest lies between."""
    best = grades - 1
    if agreement in (0, 1):
        return best * int(agreement)
    return min(max(1, round(agreement * best)), best - 1) if best > 1 else 0


def _surface(dimension: str, value: str) -> str:
    """How a shopper would put it: "Black", "output current 2", and the dimension alone for what a product merely has."""
    if value == "yes":
        return dimension
    return f"{dimension} {value}" if re.fullmatch(r"[\d.,/-]+", value) else value

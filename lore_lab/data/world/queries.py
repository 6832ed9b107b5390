"""Queries: needs put into words, with their knowledge notes, frequency and the split they belong to.

A query is a function of (world seed, pool, rank). Which pool a query may appear in is decided by a digest of the needs it
states, whatever its words: pools share neither a query string nor the same needs in other words. Its frequency is decided by a
digest of the string, so that a string has one frequency wherever it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from lore_lab.data.example import Frequency, Need
from lore_lab.data.world.draws import Draw, cumulate, number
from lore_lab.data.world.tables import LOOK, Category, Knowledge, Slot, Tables

if TYPE_CHECKING:
    from lore_lab.config.world import WorldConfig

OCTAVES = 20  #: ranks 1 .. 2^20; an octave is as likely as any other, which is Zipf's law with exponent 1
#: pool -> the buckets (of 256) of needs that belong to it
POOLS = {"train": range(0, 160), "validation": range(160, 200), "test": range(200, 256), "unseen": range(200, 256)}
#: frequency -> the buckets (of 256) of strings that have it
BANDS: dict[Frequency, range] = {"head": range(0, 40), "torso": range(40, 124), "tail": range(124, 256)}


@dataclass(frozen=True, slots=True)
class Query:
    id: str
    text: str
    needs: tuple[Need, ...]  #: the category first
    notes: str  #: what a retrieval system would give for it; "" when nothing
    frequency: Frequency
    substitute: bool  #: asks for a look-alike of another brand
    typo: bool


def frequency_of(octave: int) -> Frequency:
    """Head: the 127 most frequent ranks. Torso: the next 16 thousand. Tail: the rest. About a third of the traffic each."""
    return "head" if octave < 7 else "torso" if octave < 14 else "tail"


@dataclass(slots=True)
class _Draft:
    """A query while it is drawn."""

    needs: list[tuple[str, str, str, str, bool]]  #: dimension, value, surface, note, negated
    parts: dict[str, list[str]]
    entry: Knowledge | None
    held: bool  #: holds a combination kept for `unseen`
    typo: bool = False

    def bucket(self) -> int:
        """0..255, of the needs alone: the same for all ways to say and order them."""
        needs = sorted(f"{dimension}{'-' if negated else '='}{value}" for dimension, value, _, _, negated in self.needs)
        return blake2b(";".join(needs).encode(), digest_size=1).digest()[0]


class QueryMaker:
    """Draws the queries of one world."""

    def __init__(self, config: WorldConfig, tables: Tables) -> None:
        self._config, self._tables = config, tables
        self._extra = {band: cumulate(weights) for band, weights in tables.profile["extra_needs"].items()}
        self._by_rank = lru_cache(maxsize=1 << 15)(self._make)  # head and torso repeat; the bound keeps memory constant

    def draw(self, draw: Draw, pool: str) -> Query:
        """A query of `pool`, as often as its frequency says."""
        octave = int(draw.random() * OCTAVES)
        return self._by_rank(pool, octave, int(draw.random() * (1 << octave)))

    def by_rank(self, pool: str, rank: int) -> Query:
        """The query of `pool` that is the rank-th most frequent, 1 to 2^OCTAVES - 1."""
        octave = rank.bit_length() - 1
        return self._by_rank(pool, octave, rank - (1 << octave))

    def _make(self, pool: str, octave: int, place: int) -> Query:
        draw = Draw(number(self._config.seed, "query", pool, octave, place))
        band = frequency_of(octave)
        orders, pools, bands = self._tables.templates["query_orders"], POOLS[pool], BANDS[band]
        for _ in range(100_000):
            draft = self._draft(draw, band)
            if draft.held != (pool == "unseen") or draft.bucket() not in pools:
                continue
            first = int(draw.random() * len(orders))
            for order in orders[first:] + orders[:first]:
                text = " ".join([word for part in order for word in draft.parts.get(part, ())])
                digest = blake2b(text.encode(), digest_size=8).digest()
                if digest[0] in bands:
                    return self._finish(draw, draft, text, digest.hex(), band)
        raise RuntimeError(f"the world's vocabulary is too small to find a {band} query for pool {pool!r}")

    def _draft(self, draw: Draw, band: Frequency) -> _Draft:
        config, tables = self._config, self._tables
        factor = tables.templates["band_factor"][band]
        entry = self._entry(draw) if draw.random() < config.knowledge_rate * factor else None
        category = tables.categories[draw.pick(entry.categories) if entry else draw.pick(tables.names)]
        draft = _Draft([], {}, entry, entry is not None and category.name in entry.held)
        taken = {"category": category.name}
        if entry is None or "category" not in entry.means:
            noun = draw.pick(category.nouns)
            draft.needs.append(("category", category.name, noun, "", False))
            draft.parts["noun"] = [noun]
        if entry:
            self._know(draft, entry, category, taken)
        for slot in self._asked(draw, category, taken, draw.weighted(self._extra[band])):
            exclude = bool(slot.without) and draw.random() < config.negation_rate * factor * 1.5
            self._ask(draw, draft, slot, exclude)
        if draw.random() < config.typo_rate * factor:
            self._misspell(draw, draft)
        return draft

    def _entry(self, draw: Draw) -> Knowledge:
        dupe = draw.random() < self._tables.templates["substitute_share"]
        return draw.pick(self._tables.substitutes if dupe else self._tables.knowledge)

    @staticmethod
    def _know(draft: _Draft, entry: Knowledge, category: Category, taken: dict[str, str]) -> None:
        """Add the needs an entry stands for; those the category cannot have are not asked."""
        if entry.excludes:
            draft.needs.append(("brand", entry.excludes, entry.say, entry.note, True))
            taken["brand"] = entry.excludes
            draft.held |= entry.excludes in category.slot["brand"].held
        for dimension, value in entry.means.items():
            if dimension == "category" or (dimension in category.slot and value in category.slot[dimension].values):
                at = 0 if dimension == "category" else len(draft.needs)
                draft.needs.insert(at, (dimension, value, entry.say, entry.note, False))
                taken[dimension] = value
                draft.held |= dimension != "category" and value in category.slot[dimension].held
        draft.parts["before" if entry.before else "after"] = [entry.say]

    @staticmethod
    def _asked(draw: Draw, category: Category, taken: dict[str, str], count: int) -> list[Slot]:
        """`count` further slots of the category, often-asked ones first in line."""
        chosen: list[Slot] = []
        for _ in range(4 * count):
            slot = category.slots[draw.weighted(category.ask)]
            if len(chosen) == count:
                break
            if slot.name not in taken:
                taken[slot.name] = ""
                chosen.append(slot)
        return chosen

    @staticmethod
    def _ask(draw: Draw, draft: _Draft, slot: Slot, exclude: bool) -> None:
        value = draw.pick(slot.asked)
        surface = draw.pick(slot.surfaces[value])
        part = "rest"
        exclude = exclude and not any(need[4] for need in draft.needs)
        if exclude:
            surface, part = draw.pick(slot.without).format(surface), "after"
        elif slot.name in LOOK:
            part = "look"
        elif slot.name in ("brand", "series"):
            part = "brand"
        draft.needs.append((slot.name, value, surface, "", exclude))
        draft.parts.setdefault(part, []).append(surface)
        draft.held |= value in slot.held

    def _misspell(self, draw: Draw, draft: _Draft) -> None:
        """Misspell one word of one need that the query states outright."""
        at = int(draw.random() * len(draft.needs))
        dimension, value, surface, note, negated = draft.needs[at]
        words = surface.split()
        place = int(draw.random() * len(words))
        ways = self._tables.typos.get(words[place], ())
        if note or not ways:
            return
        words[place] = draw.pick(ways)
        wrong = " ".join(words)
        for part in draft.parts.values():
            if surface in part:
                part[part.index(surface)] = wrong
        draft.needs[at] = (dimension, value, wrong, note, negated)
        draft.typo = True

    def _finish(self, draw: Draw, draft: _Draft, text: str, digest: str, band: Frequency) -> Query:
        notes = [draft.entry.note] if draft.entry else []
        if draw.random() < self._config.irrelevant_note_rate:
            other = draw.pick(self._tables.knowledge).note
            if other not in notes:
                notes.append(other)
                draw.mix(notes)
        needs = tuple(Need(*need) for need in draft.needs)
        substitute = draft.entry is not None and bool(draft.entry.excludes)
        return Query(f"q{digest}", text, needs, ". ".join(notes), band, substitute, draft.typo)

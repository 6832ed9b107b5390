"""The vocabulary of one profile, compiled from the YAML files under vocab/ into tables the generator walks quickly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from lore_lab.data.world.draws import cumulate, number

VOCAB = Path(__file__).parent / "vocab"
LOOK = ("colour", "pattern", "style", "material")  #: dimensions a seller puts right before or after the noun
HELD_SHARE = 8  #: one in so many (category, value) and (category, knowledge) pairs is kept for the `unseen` split


@cache
def read_vocab(name: str) -> dict[str, Any]:
    """One vocabulary file, parsed."""
    content = yaml.safe_load((VOCAB / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict), name
    return content


@dataclass(frozen=True)
class Slot:
    """One dimension as one category uses it."""

    name: str
    values: tuple[str, ...]
    open: tuple[str, ...]  #: values that training may combine with this category
    held: frozenset[str]  #: the others: this combination occurs in `unseen` only
    asked: tuple[str, ...]
    surfaces: Mapping[str, tuple[str, ...]]  #: wordings that state a value outright, the canonical one first
    title: float
    visual: bool
    ordered: bool
    minor: bool
    phrases: tuple[str, ...]
    without: tuple[str, ...]

    def gap(self, wanted: str, found: str) -> int:
        """Steps from the wanted to the found value."""
        return self.values.index(found) - self.values.index(wanted)


@dataclass(frozen=True)
class Category:
    name: str
    industry: str
    nouns: tuple[str, ...]
    slots: tuple[Slot, ...]
    slot: Mapping[str, Slot]
    ask: tuple[float, ...]  #: cumulative, beside `slots`
    siblings: tuple[str, ...]
    accessories: tuple[str, ...]  #: categories in the relations accessory, set, part or main to this one
    mains: tuple[str, ...]  #: what this is an accessory for
    shape: str
    price: tuple[float, float]


@dataclass(frozen=True)
class Knowledge:
    """Words that stand for needs."""

    id: str
    say: str
    kind: str
    before: bool
    means: Mapping[str, str]
    excludes: str  #: the brand a substitute must not be, else ""
    note: str
    categories: tuple[str, ...]
    held: frozenset[str]  #: categories this is kept away from outside `unseen`


@dataclass(frozen=True)
class Tables:
    """All that the generator, the judge and the reader look up."""

    profile: Mapping[str, Any]
    categories: Mapping[str, Category]
    names: tuple[str, ...]
    relations: Mapping[tuple[str, str], str]  #: (wanted, found) -> relation, when it is not "other"
    brands: tuple[str, ...]
    knowledge: tuple[Knowledge, ...]
    substitutes: tuple[Knowledge, ...]
    rules: Mapping[str, Any]
    templates: Mapping[str, Any]
    typos: Mapping[str, tuple[str, ...]]
    minor: frozenset[str] = field(default_factory=frozenset)

    def relation(self, wanted: str, found: str) -> str:
        return self.relations.get((wanted, found), "other")


def _held(seed: int, values: Sequence[str], *parts: str) -> frozenset[str]:
    """Which of `values` to keep for `unseen`: some, but never so many that training lacks variety."""
    if len(values) < 4:
        return frozenset()
    chosen = [value for value in values if number(seed, "held", *parts, value) % HELD_SHARE == 0]
    return frozenset(chosen[: len(values) // 4])


def _slot(category: str, use: str, brands: Sequence[str], profile: Mapping[str, Any], seed: int) -> Slot | None:
    name, _, scale = use.partition("/")
    spec, kept = read_vocab("dimensions")[name], profile["dimensions"]
    values = brands if name == "brand" else spec["values"][scale or "all"]
    if kept != "all":
        values = [value for value in values if value in kept.get(name, ())]
    if len(values) < 2:
        return None
    show, also = spec.get("show", "{}"), spec.get("also", {}) if profile["synonyms"] else {}
    surfaces = {value: tuple(show.format(word) for word in (value, *also.get(value, ()))) for value in values}
    held = _held(seed, values, category, name) if not spec.get("ordered") and name not in ("condition", "audience") else frozenset()
    return Slot(
        name=name, values=tuple(values), open=tuple(value for value in values if value not in held), held=held,
        asked=tuple(value for value in values if value in spec.get("asked", values)), surfaces=surfaces, title=spec["title"],
        visual=spec.get("visual", False), ordered=spec.get("ordered", False), minor=spec["weight"] == "minor",
        phrases=tuple(spec["phrase"]), without=tuple(spec.get("without", ())),
    )  # fmt: skip


def _leaves(profile: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    for industry, group in read_vocab("categories").items():
        for name, leaf in group["categories"].items():
            if profile["categories"] == "all" or name in profile["categories"]:
                yield industry, group, name, leaf


def _relations(profile: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """(wanted, found) -> relation for every pair of the profile's categories that has one."""
    leaves = {name: leaf for _, _, name, leaf in _leaves(profile)}
    relations = {(name, name): "same" for name in leaves}
    for name, leaf in leaves.items():
        for other in leaf.get("siblings", ()):
            if other in leaves:
                relations[name, other] = relations[other, name] = "sibling"
        for other in leaf.get("for", ()):
            if other in leaves:
                relations[other, name], relations[name, other] = "accessory", "main"
        for other in leaf.get("holds", ()):
            if other in leaves:
                relations[other, name], relations[name, other] = "set", "part"
    return relations


def _categories(profile: Mapping[str, Any], relations: Mapping[tuple[str, str], str], seed: int) -> dict[str, Category]:
    weight = {name: spec["ask"] for name, spec in read_vocab("dimensions").items()}
    categories = {}
    for industry, group, name, leaf in _leaves(profile):
        uses = [*group["uses"], *leaf.get("plus", ())]
        made = [_slot(name, use, group["brands"], profile, seed) for use in uses]
        slots = tuple(slot for slot in made if slot is not None)
        near = {kind: tuple(found for (wanted, found), relation in relations.items() if wanted == name and relation == kind)
                for kind in ("sibling", "accessory", "set", "part", "main")}  # fmt: skip
        categories[name] = Category(
            name=name, industry=industry, nouns=(name, *(leaf.get("also", ()) if profile["synonyms"] else ())), slots=slots,
            slot={slot.name: slot for slot in slots}, ask=cumulate([weight[slot.name] for slot in slots]),
            siblings=near["sibling"], accessories=near["accessory"] + near["set"] + near["part"] + near["main"],
            mains=near["main"], shape=leaf["shape"], price=(float(leaf["price"][0]), float(leaf["price"][1])),
        )  # fmt: skip
    return categories


def _entry(spec: Mapping[str, Any], categories: Mapping[str, Category], seed: int, brand: str = "") -> Knowledge | None:
    """A knowledge entry, or None when no category of the profile can use it."""
    say, means = spec["say"].format(brand=brand), dict(spec["means"])
    if brand:  # a substitute is cheap where the category knows price tiers
        fits = [c for c in categories.values() if "brand" in c.slot and brand in c.slot["brand"].values]
    else:
        fits = [c for c in categories.values() if means.get("category", c.name) == c.name
                and all(d == "category" or (d in c.slot and v in c.slot[d].values) for d, v in means.items())]  # fmt: skip
    if not fits:
        return None
    names = tuple(category.name for category in fits)
    return Knowledge(
        id=say, say=say, kind="substitute" if brand else spec["kind"], before=spec["place"] == "before", means=means,
        excludes=brand, note=spec["note"].format(brand=brand), categories=names, held=_held(seed, names, "knowledge", say),
    )  # fmt: skip


def _typos(categories: Mapping[str, Category]) -> dict[str, tuple[str, ...]]:
    """Word -> misspellings that no other word of the vocabulary has or is misspelt as."""
    words = {word for category in categories.values() for slot in category.slots for ways in slot.surfaces.values()
             for way in ways for word in way.split()}  # fmt: skip
    words |= {word for category in categories.values() for noun in category.nouns for word in noun.split()}
    made: dict[str, list[str]] = {}
    for word in sorted(words):
        if len(word) >= 4 and word.isalpha():
            swaps = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
            drops = [word[:i] + word[i + 1 :] for i in range(1, len(word) - 1)]
            made[word] = swaps + drops
    owners: dict[str, set[str]] = {}
    for word, ways in made.items():
        for way in ways:
            owners.setdefault(way, set()).add(word)
    return {word: tuple(dict.fromkeys(w for w in ways if w not in words and len(owners[w]) == 1)) for word, ways in made.items()}


@lru_cache(maxsize=8)
def load_tables(profile_name: str, seed: int) -> Tables:
    """The tables of one profile in the world of one seed (the seed decides which combinations `unseen` keeps)."""
    profile = read_vocab(f"profiles/{profile_name}")
    relations = _relations(profile)
    categories = _categories(profile, relations, seed)
    brands = tuple(dict.fromkeys(b for c in categories.values() if "brand" in c.slot for b in c.slot["brand"].values))
    source = read_vocab("knowledge")
    known = [spec for spec in source["entries"] if profile["knowledge"] == "all" or spec["say"] in profile["knowledge"]]
    entries = [_entry(spec, categories, seed) for spec in known]
    dupes = [_entry(spec, categories, seed, brand) for spec in source["substitutes"] for brand in brands]
    book = dict(read_vocab("rules"))
    book["rules"] = [rule for rule in book["rules"] if profile["rules"] == "all" or rule["id"] in profile["rules"]]
    return Tables(
        profile=profile, categories=categories, names=tuple(categories), relations=relations, brands=brands,
        knowledge=tuple(e for e in entries if e), substitutes=tuple(e for e in dupes if e), rules=book,
        templates=read_vocab("templates"), typos=_typos(categories),
        minor=frozenset(name for name, spec in read_vocab("dimensions").items() if spec["weight"] == "minor"),
    )  # fmt: skip

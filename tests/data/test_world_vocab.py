"""The vocabulary files: unambiguous, complete, and as rich as promised."""

from __future__ import annotations

import pytest

from lore_lab.data.world.tables import load_tables, read_vocab


@pytest.mark.parametrize("profile", ["small", "full"])
def test_no_wording_states_two_values_of_one_category(profile: str) -> None:
    for category in load_tables(profile, 0).categories.values():
        owners: dict[str, str] = {}
        for slot in category.slots:
            for value in slot.values:
                for surface in slot.surfaces[value]:
                    assert owners.setdefault(surface, f"{slot.name}={value}") == f"{slot.name}={value}", (category.name, surface)


def test_the_full_profile_is_as_large_as_promised() -> None:
    tables = load_tables("full", 0)
    assert len({category.industry for category in tables.categories.values()}) == 8
    assert len(tables.categories) >= 70
    assert len(read_vocab("dimensions")) + 1 == 18  # and the category itself
    used = {slot.name for category in tables.categories.values() for slot in category.slots}
    assert used == set(read_vocab("dimensions"))


def test_the_small_profile_keeps_every_mechanism() -> None:
    tables = load_tables("small", 0)
    slots = [slot for category in tables.categories.values() for slot in category.slots]
    assert any(slot.visual for slot in slots)
    assert any(slot.without for slot in slots)
    assert any(slot.minor for slot in slots)
    assert tables.substitutes
    assert {entry.kind for entry in tables.knowledge} == {"nickname", "jargon", "entailment"}
    assert {"accessory", "sibling"} <= set(tables.relations.values())
    assert any(rule.get("blocks") for rule in tables.rules["rules"])
    assert any(rule.get("excuse") for rule in tables.rules["rules"])
    assert any(category.slot[name].held for category in tables.categories.values() for name in category.slot)


@pytest.mark.parametrize("profile", ["small", "full"])
def test_fillers_state_no_value(profile: str) -> None:
    templates = read_vocab("templates")
    filler = " ".join([*templates["stuffing"], *templates["reviews"], *templates["shops"], *templates["caption"], *templates["described"]])
    words = set(filler.replace(",", " ").replace(".", " ").split())
    for category in load_tables(profile, 0).categories.values():
        for slot in category.slots:
            assert not {surface for ways in slot.surfaces.values() for surface in ways} & words


def test_rules_name_only_rules_and_dimensions_there_are() -> None:
    book = read_vocab("rules")["rules"]
    names, dimensions = [rule["id"] for rule in book], {"category", *read_vocab("dimensions")}
    assert len(names) == len(set(names)) >= 12
    for place, rule in enumerate(book):
        assert set(rule.get("blocks", ())) <= set(names[place + 1 :])
        assert rule.get("excuse", "category") in dimensions
        assert not any(grade in rule["text"].lower() for grade in ("irrelevant", "mismatch", "related", "excellent"))


def test_misspellings_belong_to_one_word() -> None:
    typos = load_tables("full", 0).typos
    owners: dict[str, str] = {}
    for word, ways in typos.items():
        for way in ways:
            assert way not in typos
            assert owners.setdefault(way, word) == word

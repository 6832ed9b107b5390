"""What each mutation may do to a text, and that it does something."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from lore_lab.config.schema import MUTATIONS
from lore_lab.config.teacher import REWRITE
from lore_lab.instructions.operators import _PHRASES, OPERATORS, Lines, mutator

LINES = ("task: how well does the item meet the query? answer first.", "grades: 1 bad 2 good", "rule: A box is never the wanted product.",
         "rule: One size away may still fit.")  # fmt: skip


def drawn(name: str, lines: Lines = LINES, times: int = 40) -> list[Lines]:
    generator = random.Random(1)
    found = [OPERATORS[name](lines, generator) for _ in range(times)]
    return [own for own in found if own is not None]


def test_the_config_names_exactly_the_operators_there_are() -> None:
    assert (*OPERATORS, REWRITE) == MUTATIONS


def test_drop_takes_one_line_and_never_the_last() -> None:
    assert all(len(own) == 3 and set(own) < set(LINES) for own in drawn("drop"))
    assert {line for own in drawn("drop") for line in set(LINES) - set(own)} == set(LINES)
    assert drawn("drop", LINES[:1]) == []


@pytest.mark.parametrize("name", ["swap", "move"])
def test_swap_and_move_keep_every_line(name: str) -> None:
    assert all(Counter(own) == Counter(LINES) for own in drawn(name))
    assert len(set(drawn(name))) > 4
    assert drawn(name, LINES[:1]) == []


def test_swap_changes_two_places() -> None:
    assert all(sum(one != other for one, other in zip(own, LINES, strict=True)) == 2 for own in drawn("swap"))


def test_repeat_adds_a_line_at_the_end() -> None:
    assert all(own[:-1] == LINES and own[-1] in LINES for own in drawn("repeat"))


def test_a_paraphrase_is_of_the_table_and_keeps_capitals() -> None:
    found = drawn("paraphrase")
    changed = {(place, line) for own in found for place, line in enumerate(own) if line != LINES[place]}
    assert all(sum(one != other for one, other in zip(own, LINES, strict=True)) == 1 for own in found)
    assert (3, "rule: One size away can still fit.") in changed
    assert (2, "rule: A box cannot be the wanted product.") in changed
    assert drawn("paraphrase", ("Is never there.",)) != []
    assert all(own[0][0].isupper() for own in drawn("paraphrase", ("Is never there.",)))
    assert drawn("paraphrase", ("this neverisnever",)) == []


def test_a_line_is_stressed_once() -> None:
    twice = drawn("emphasise", ("important: a", "b"))
    assert twice
    assert all(own[0] == "important: a" and own[1].endswith("b") and own[1] != "b" for own in twice)
    assert drawn("emphasise", ("important: a",)) == []


def test_the_table_has_no_phrase_twice_and_every_one_has_a_partner() -> None:
    phrases = [phrase for group in _PHRASES["paraphrases"] for phrase in group]
    assert len(set(phrases)) == len(phrases)
    assert all(len(group) > 1 for group in _PHRASES["paraphrases"])


def test_a_mutator_draws_from_its_names_alone_and_repeats_with_the_seed() -> None:
    mutate = mutator(["drop", "repeat"])
    runs = [[mutate(LINES, generator) for _ in range(30)] for generator in (random.Random(5), random.Random(5))]
    assert runs[0] == runs[1]
    assert {own[0] for own in runs[0] if own} == {"drop", "repeat"}

"""Which grades fired rules leave open, on the world's own pairs and by hand; and how answers that break them are counted."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from lore_lab.config.compose import compose
from lore_lab.data.example import Facts, Match, Need
from lore_lab.data.world import WorldSource
from lore_lab.evaluate.metrics import INVALID, summarise
from lore_lab.evaluate.rules import open_grades, violations, with_open_grades


@pytest.fixture(scope="module", params=["small", "full"])
def world(request: pytest.FixtureRequest) -> WorldSource:
    return WorldSource(compose((f"data.profile={request.param}",)).data)


def facts(rules: list[str], **verdicts: str) -> Facts:
    matches = tuple(Match(name, verdict, "", "title") for name, verdict in verdicts.items())  # type: ignore[arg-type]
    return Facts(tuple(Need(name, "x", "x") for name in verdicts), matches, tuple(rules))


def test_the_gold_grade_breaks_no_rule_and_rules_do_dictate(world: WorldSource) -> None:
    dictated = 0
    for example in world.examples("rule", 0, 60):
        assert example.facts is not None
        least, most = open_grades(example.facts, world.book, 4)
        assert least <= example.gold <= most
        dictated += (least, most) != (0, 3)
    assert dictated > 15


def test_caps_and_excuses_by_hand(world: WorldSource) -> None:
    agree = {"category": "match", "brand": "match", "audience": "match"}
    for given, verdicts, expected in (
        ([], agree, (0, 3)),
        (["used"], agree, (0, 1)),
        (["used", "replica"], agree, (0, 0)),
        (["dupe"], agree, (0, 3)),  # only silences another rule
        (["unisex"], agree | {"audience": "miss"}, (2, 3)),  # without the rule the key miss would make it 1
        (["unisex"], agree | {"audience": "miss", "brand": "miss"}, (1, 3)),  # 1; charging the audience too would make it 0
        (["unisex", "used"], agree | {"audience": "miss", "brand": "miss"}, (1, 1)),
        (["unisex", "replica"], agree | {"audience": "miss"}, (0, 0)),  # the cap decides, the excuse changes nothing
    ):
        assert open_grades(facts(given, **verdicts), world.book, 4) == expected, given


def answers(predicted: list[int]) -> pd.DataFrame:
    rows = [{"example_id": f"e{place}", "predicted": grade, "gold": 0, "mode": "greedy"} for place, grade in enumerate(predicted)]
    return pd.DataFrame(rows)


def test_answers_outside_the_open_grades_are_counted_among_valid_ones_to_pairs_with_a_rule() -> None:
    table = answers([3, 1, 0, INVALID, 3]).assign(rule_least=[0, 0, 2, 0, 0], rule_most=[1, 1, 3, 1, 3])
    assert violations(table, 4)["rule_violation_rate"].tolist() == [1.0, 0.0, 1.0]
    assert violations(table.iloc[[3, 4]], 4) == {}
    assert violations(answers([3, 1]), 4) == {}


def test_a_summary_has_the_rate_where_there_are_rules(world: WorldSource) -> None:
    examples = list(world.examples("rule", 0, 40))
    rows = [
        {
            "example_id": own.id,
            "subset": "rule",
            "frequency": own.frequency,
            "gold": own.gold,
            "predicted": 3,
            "mode": "greedy",
            "sample": 0,
        }
        for own in examples
    ]
    table = with_open_grades(pd.DataFrame(rows), examples, world.book, 4)
    found = summarise(table, 4, 2, 100, 0)
    capped = [own for own in examples if own.facts and open_grades(own.facts, world.book, 4) != (0, 3)]
    wrong = [own for own in capped if own.facts and open_grades(own.facts, world.book, 4)[1] < 3]
    assert found["rule_violation_rate"] == found["rule/rule_violation_rate"] == pytest.approx(len(wrong) / len(capped))
    assert found["rule_violation_rate/low"] <= found["rule_violation_rate"] <= found["rule_violation_rate/high"]
    assert with_open_grades(pd.DataFrame(rows), examples, None, 4).equals(pd.DataFrame(rows))
    without = [replace(own, facts=None) for own in examples]
    assert "rule_violation_rate" not in summarise(with_open_grades(pd.DataFrame(rows), without, world.book, 4), 4, 2, 100, 0)

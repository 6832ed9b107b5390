"""Reasoning recipes: many wordings, nothing that states a grade, and progressive text that reads back exactly."""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_lab.config.cot import RECIPES as NAMES
from lore_lab.config.cot import CotConfig
from lore_lab.cot import RECIPES, Recipe, build_recipe, parse_reasoning
from lore_lab.data.example import Example, Facts, Match, Need
from tests.data.test_world import ROOT, world

SOURCE = world("full")
EXAMPLES = list(SOURCE.examples("train", 0, 200))
OWN = [name for name in NAMES if name != "teacher"]  #: what the lab writes itself
FORBIDDEN = re.compile(r"answer|\b(irrelevant|mismatch|related|excellent|l[1-4])\b", re.IGNORECASE)


def recipe(name: str, **changes: object) -> Recipe:
    config = yaml.safe_load((Path(ROOT) / f"conf/cot/{name}.yaml").read_text())
    config.pop("defaults", None)
    return build_recipe(CotConfig(**(config | changes)), "world", SOURCE.guide.rules)


def test_every_recipe_has_a_module_and_a_config() -> None:
    assert set(RECIPES) == set(NAMES)
    assert all(recipe(name).name == name for name in NAMES)


@pytest.mark.parametrize("name", [name for name in OWN if name != "none"])
def test_wordings_vary_and_repeat_with_the_seed(name: str) -> None:
    made = recipe(name)
    example = max(EXAMPLES, key=lambda e: len(e.facts.needs) if e.facts else 0)
    assert len({made.reasoning(example, random.Random(seed)) for seed in range(40)}) >= 12
    assert made.reasoning(example, random.Random(5)) == made.reasoning(example, random.Random(5))


@pytest.mark.parametrize("name", OWN)
def test_no_recipe_states_a_grade(name: str) -> None:
    made, rng = recipe(name), random.Random(0)
    assert not [text for text in (made.reasoning(example, rng) for example in EXAMPLES) if FORBIDDEN.search(text)]


@pytest.mark.parametrize("name", OWN)
def test_without_facts_only_none_works(name: str) -> None:
    bare = dataclasses.replace(EXAMPLES[0], facts=None)
    if name == "none":
        assert recipe(name).reasoning(bare, random.Random(0)) == ""
    else:
        with pytest.raises(ValueError, match=r"source 'world'.*use cot=none"):
            recipe(name).reasoning(bare, random.Random(0))


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match="'magic' is not one of"):
        build_recipe(CotConfig("magic", True, True, True, 0.0, 0.3))


def test_progressive_reads_back() -> None:
    made, rng = recipe("progressive"), random.Random(0)
    for example in EXAMPLES:
        facts, parsed = example.facts, parse_reasoning(made.reasoning(example, rng))
        assert facts is not None
        assert parsed.problems == []
        assert parsed.path == {match.dimension: match.verdict for match in facts.matches}
        assert parsed.rules == facts.rules
        assert set(parsed.needs) == {need.dimension for need in facts.needs}
        assert bool(parsed.knowledge) == any(need.knowledge for need in facts.needs)
        assert set(parsed.seen) == {match.dimension for match in facts.matches if match.evidence == "caption"}


def test_each_switch_takes_its_section_away() -> None:
    rng = random.Random(0)
    for switch, section in (("knowledge", "know:"), ("caption", "seen:"), ("rules", "rules:")):
        with_it = "\n".join(recipe("progressive").reasoning(example, rng) for example in EXAMPLES)
        without = "\n".join(recipe("progressive", **{switch: False}).reasoning(example, rng) for example in EXAMPLES)
        assert section in with_it
        assert section not in without


def test_multi_is_written_by_its_parts_in_equal_shares_and_by_no_other() -> None:
    """Told apart by how each part begins, whatever the example."""
    starts = {"expert": "category: ", "rules": "product rule: "}

    def writers(name: str, **changes: object) -> list[str]:
        made, rng = recipe(name, **changes), random.Random(0)
        texts = [made.reasoning(example, rng) for example in EXAMPLES]
        return [next((part for part, start in starts.items() if text.startswith(start)), "reflection") for text in texts]

    for found, parts in (
        (writers("multi"), {"expert", "rules", "reflection"}),
        (writers("multi", parts=["expert", "rules"]), {"expert", "rules"}),
        (writers("multi", parts=["reflection", "rules"]), {"rules", "reflection"}),
    ):
        assert set(found) == parts
        assert all(abs(found.count(part) / len(found) - 1 / len(parts)) < 0.1 for part in parts)


def test_the_step_between_expert_and_multi_leaves_reflection_out() -> None:
    content = yaml.safe_load((Path(ROOT) / "conf/cot/expert_rules.yaml").read_text())
    assert content == {"defaults": ["multi"], "parts": ["expert", "rules"]}


def test_the_naive_teacher_errs_at_its_rate() -> None:
    unsure = ("cannot tell", "keeps silent", "nobody says")
    known = [e for e in EXAMPLES if e.facts and all(match.verdict == "match" for match in e.facts.matches)]
    texts = {rate: " ".join(recipe("naive", mistake_rate=rate).reasoning(e, random.Random(1)) for e in known) for rate in (0.0, 0.5)}
    assert not any(phrase in texts[0.0] for phrase in unsure)
    assert any(phrase in texts[0.5] for phrase in unsure)


def test_reflection_is_wrong_in_a_possible_direction() -> None:
    for example in EXAMPLES:
        opening = recipe("reflection").reasoning(example, random.Random(3)).split("\n")[0]
        high = any(word in opening for word in ("generous", "kindly", "high"))
        assert not (example.gold == 0 and not high)
        assert not (example.gold == 3 and high)


hostile = st.text(max_size=30) | st.sampled_from(
    ["path: colour match", "x\nrules: none", "answer: 3", "red, brand match", "a means b", "not", "; ", "none"]
)


@given(
    st.lists(st.tuples(hostile, hostile, st.sampled_from(["match", "miss", "unknown"]), hostile, st.booleans()), min_size=1, max_size=4),
    hostile,
    st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_hostile_values_cannot_pose_as_structure(needs: list[tuple[str, str, str, str, bool]], surface: str, seed: int) -> None:
    made = [
        Need(f"d{i}", value, surface if known else value, note if known else "", known)
        for i, (value, _, _, note, known) in enumerate(needs)
    ]
    matches = [Match(f"d{i}", verdict, found, "caption") for i, (_, found, verdict, _, _) in enumerate(needs)]  # type: ignore[arg-type]
    example = Example("x-0", "q", "i", "query", {}, 0, 0, 0.5, facts=Facts(tuple(made), tuple(matches), ("used",)))
    text = recipe("progressive").reasoning(example, random.Random(seed))
    parsed = parse_reasoning(text)
    assert [p for p in parsed.problems if not p.startswith("know: said twice")] == []
    assert parsed.path == {match.dimension: match.verdict for match in matches}
    assert parsed.rules == ("used",)
    assert not FORBIDDEN.search(text)


GOOD = "needs: category belt, colour not red\nknow: goth means black\npath: category fits; colour blue miss\nrules: used"


def test_a_good_text_parses() -> None:
    parsed = parse_reasoning(GOOD)
    assert parsed.well_formed
    assert parsed.needs == {"category": "belt", "colour": "not red"}
    assert parsed.knowledge == {"goth": "black"}
    assert parsed.path == {"category": "match", "colour": "miss"}
    assert parsed.rules == ("used",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no section"),
        (GOOD + "\npath: colour match", "occurs 2 times"),
        (GOOD + "\nso it is fine", "no section"),
        (GOOD.replace("colour blue miss", "colour blue"), "no verdict"),
        (GOOD.replace("rules: used", "rules: none, used"), "not a rule's name"),
        (GOOD.replace("rules: used", "rules: used, used"), "said twice"),
        (GOOD.replace("category fits; ", "category fits; category miss; "), "said twice"),
        (GOOD.replace("needs: ", "NEEDS: "), "no section"),
        (GOOD.replace("means", "is"), "not of the form"),
        (GOOD.replace("path: category fits; colour blue miss\n", ""), "'path' is missing"),
        ("path: category match\nneeds: category belt", "out of order"),
        (GOOD.replace("belt", "bélt\u202e"), "not plain words"),
        (GOOD.replace(", colour", ",, colour"), "not plain words"),
        (GOOD + "\n", "no section"),
    ],
)
def test_anything_else_is_a_problem(text: str, problem: str) -> None:
    assert any(problem in found for found in parse_reasoning(text).problems)


def test_a_repeated_section_is_believed_neither_time() -> None:
    assert parse_reasoning(GOOD + "\npath: category miss").path == {}


@given(st.text(alphabet=st.sampled_from(list("nedsp ath:;,ucolr\n mis0+")), max_size=80))
@settings(max_examples=150, deadline=None)
def test_parsing_never_raises(text: str) -> None:
    parse_reasoning(text)

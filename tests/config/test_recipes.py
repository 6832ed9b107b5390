"""The systems as configs: each composes, its steps lead to it, every component can be switched off alone, and nothing fights in silence."""

from __future__ import annotations

import dataclasses
import re

import pytest

from lore_lab.config.compose import compose
from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import companions, groups, latest, touched
from lore_lab.config.recipe import RecipeConfig, StepConfig, chosen_groups, load_recipe
from lore_lab.config.schema import Config
from lore_lab.config.validate import validate
from lore_lab.stages.graph import build, point_key

RECIPES = [name for name in groups()["recipe"] if name != "none"]
STEPS = [(name, step) for name in RECIPES for step in load_recipe(name).steps]


def composed(*words: str) -> Config:
    """The valid config of override words, inert ones refused."""
    config = compose(tuple(words))
    assert validate(config, touched(words)) == []
    return config


def key(config: Config) -> str:
    return point_key(build(config))


@pytest.mark.parametrize(("name", "step"), STEPS)
def test_a_step_composes_and_its_words_act(name: str, step: str) -> None:
    recipe = load_recipe(name)
    assert composed(*latest(recipe.words(step))).recipe == recipe
    assert recipe.steps[step].adds


@pytest.mark.parametrize("name", RECIPES)
def test_the_steps_are_points_of_their_own_and_the_last_is_the_system(name: str) -> None:
    recipe = load_recipe(name)
    keys = {step: key(compose(tuple(latest(recipe.words(step))))) for step in recipe.steps}
    assert len(set(keys.values())) == len(keys)
    assert key(composed(f"recipe={name}")) == keys[recipe.last]


def test_the_list_of_steps_is_part_of_no_stage_key() -> None:
    config = compose(("recipe=agrl",))
    assert key(dataclasses.replace(config, recipe=compose(()).recipe)) == key(config)
    words = ("format=answer_first", "reward=guided", "eval=balanced_and_wild")
    assert key(compose(words)) == key(config)


#: word that switches one component off -> where that shows; everything else stays
OFF = [
    ("agrl", "reward=exact", "reward.name"),
    ("agrl", "rl.guided_replay.enabled=false", "rl.guided_replay.enabled"),
    ("agrl", "rl=off", "rl.enabled"),
    ("agrl", "format=reason_first", "format.name"),
    ("lref", "selection=off", "selection.enabled"),
    ("lref", "dpo=off", "dpo.enabled"),
    ("lref", "cot=rules", "cot.name"),
    ("lref", "eval.beams=0", "eval.beams"),
    ("afrl", "reward=exact", "rl.stepwise.enabled"),
    ("afrl", "rl/entropy=none", "rl.sft_auxiliary.enabled"),
    ("afrl", "curriculum=random", "curriculum.name"),
    ("afrl", "instructions=written", "instructions.name"),
    ("afrl", "distill=off", "distill.enabled"),
    ("afrl", "eval.decode=generate", "eval.decode"),
    ("lore", "cot.knowledge=false", "cot.knowledge"),
    ("lore", "cot.caption=false", "cot.caption"),
    ("lore", "cot.rules=false", "cot.rules"),
    ("lore", "rl/entropy=none", "rl.clip_high"),
    ("lore", "curriculum=random", "curriculum.name"),
    ("lore", "rl=off", "rl.enabled"),
]


@pytest.mark.parametrize(("name", "word", "field"), OFF)
def test_a_component_is_switched_off_alone_by_a_word(name: str, word: str, field: str) -> None:
    from lore_lab.claims.confound import differences, flat

    moved = differences(flat(composed(f"recipe={name}")), flat(composed(f"recipe={name}", word)))
    assert set(moved) == {field}


def test_every_group_a_recipe_chooses_is_one_and_gives_way_to_the_command() -> None:
    for name in RECIPES:
        for group, option in chosen_groups(name).items():
            assert option in groups()[group], f"recipe/{name}.yaml: {group}={option}"
    assert composed("recipe=agrl", "format=reason_first").format.name == "reason_first"
    assert composed("recipe=lore", "rl/entropy=kl_cov").rl.arm == "kl_cov"


@pytest.mark.parametrize("data", ["chorus", "table", "esci"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_source_without_gold_facts_and_a_recipe_do_not_fight_in_silence(name: str, data: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"recipe={name} chooses .*data={data} needs .*format=label_only.*take data=world, or name these"
    ):
        companions([f"recipe={name}", f"data={data}", "data.path=pairs.csv"])


def test_what_is_left_of_a_system_runs_on_a_source_without_gold_facts_once_it_is_named() -> None:
    words = ["recipe=lore", "data=table", "data.path=pairs.csv", "cot=none", "format=label_only"]
    assert companions(words) == ["features=description", "prompt=medium", "eval=rated"]
    assert validate(compose(tuple(words))) == []
    words = ["recipe=agrl", "data=table", "data.path=pairs.csv", "cot=none", "format=label_only", "eval=rated"]
    with pytest.raises(ConfigError, match=r"no gold facts for reward\.name=rule_aware"):
        validate(compose(tuple(words)))
    assert validate(compose((*words, "reward=exact", "rl.guided_replay.enabled=false"))) == []


def test_reasoning_is_not_asked_of_a_source_without_gold_facts() -> None:
    with pytest.raises(ConfigError, match=r"data=table has no gold facts, so cot=progressive .* or cot=none format=label_only"):
        validate(compose(("data=table", "data.path=pairs.csv", "format=reason_first", "cot=progressive")))


def steps(**after: str) -> RecipeConfig:
    return RecipeConfig("lref", "", [], [], {name: StepConfig(name, [f"{name}=1"], before) for name, before in after.items()})


def test_words_follow_the_branch_a_step_stands_on() -> None:
    recipe = steps(a="", b="", c="a", d="")
    assert recipe.lineage("d") == ["a", "c", "d"]
    assert recipe.words("b") == ["recipe=lref", "a=1", "b=1"]
    assert [recipe.before(step) for step in "abcd"] == [None, "a", "a", "c"]


def test_steps_are_picked_in_the_papers_order_and_an_unknown_one_is_answered_with_the_nearest() -> None:
    recipe = load_recipe("lore")
    assert recipe.pick(["rl", "naive"]) == ["naive", "rl"]
    assert recipe.pick(["each"]) == list(recipe.steps)
    with pytest.raises(
        ValueError, match=r"step=clip_highr: recipe=lore has no such step; did you mean clip_higher\? There are: label_only, "
    ):
        recipe.pick(["rl", "clip_highr"])


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (steps(a="b", b=""), "step a: after=b is no earlier step"),
        (steps(each=""), "step 'each'"),
        (RecipeConfig("lref", "", [], [], {"a": StepConfig("a", [], "", {"macro_f1": 0.5})}), "step a: figures"),
    ],
)
def test_a_list_of_steps_that_does_not_fit_together_is_named(recipe: RecipeConfig, message: str) -> None:
    assert re.match(message, recipe.problems()[0])

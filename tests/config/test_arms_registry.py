"""The registry, the YAML and the guards say the same of every arm, and none of it needs torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from lore_lab.config.arms import ARMS, Arm
from lore_lab.config.errors import ConfigError
from lore_lab.config.fields import walk
from lore_lab.config.overrides import CONF, groups
from lore_lab.config.schema import Config, register
from lore_lab.config.validate import typed, validate
from lore_lab.stages.graph import build
from lore_lab.stages.keys import reachable

OPTIONS = [(arm.group, arm.name) for arm in ARMS if not arm.switch]
ONE_UPDATE = ["rl.steps_per_generation=1", "rl.num_iterations=1"]


def config(*overrides: str) -> Config:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(compose("config", overrides=list(overrides)))


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(config(*overrides), [word.partition("=")[0] for word in overrides])
    return str(caught.value)


def test_registry_and_conf_list_the_same_options() -> None:
    found = groups()
    for group in ("rl/entropy", "reward", "curriculum"):
        assert sorted(name for owner, name in OPTIONS if owner == group) == sorted(found[group])


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_validates_and_is_planned(group: str, option: str) -> None:
    resolved = config(f"{group}={option}")
    assert validate(resolved, [group]) == []
    assert "rl" in build(resolved)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm.keys], ids=lambda arm: arm.name)
def test_the_advice_for_a_parameter_that_is_off_switches_it_on(arm: Arm) -> None:
    (advice,) = [rule.instead for rule in arm.rules() if rule.name == f"{arm.name} off"]
    word = advice.removeprefix("take ")
    assert word != advice
    assert arm.on(config(word))


def test_every_parameter_of_the_registry_is_a_field() -> None:
    known = {key for key, _, _ in walk(config())}
    assert {key for arm in ARMS for key in arm.keys} <= known


@pytest.mark.parametrize("arm", ["clip_higher", "kl_cov", "kl_cov_verl", "dual_clip", "gspo", "cispo"])
def test_arms_of_the_ratio_are_refused_with_one_update_a_rollout(arm: str) -> None:
    assert "ratio is 1" in refused(f"rl/entropy={arm}", *ONE_UPDATE)


@pytest.mark.parametrize("arm", ["clip_cov", "entropy_bonus", "top_entropy", "dapo", "sft_aux"])
def test_other_arms_run_with_one_update_a_rollout(arm: str) -> None:
    assert validate(config(f"rl/entropy={arm}", *ONE_UPDATE), ["rl/entropy"]) == []


@pytest.mark.parametrize(
    "word",
    [
        "rl.clip_cov.share=0.1", "rl.kl_cov.coef=2", "rl.dynamic_sampling.attempts=2", "rl.sft_auxiliary.weight=1", "rl.entropy_target=0.1",
        "rl.sapo_temperature_pos=2", "rl.stepwise.weight=0.1", "rl.guided_replay.share=0.1", "reward.overlong.buffer=3", "reward.brevity.weight=0.1",
        "reward.rule_aware.path=0.1", "curriculum.pools=4", "curriculum.replay=0.1", "curriculum.memory=0.1", "curriculum.samples=4",
        "curriculum.difficulty=measured",
    ],
)  # fmt: skip
def test_parameters_of_an_arm_that_is_off_are_refused(word: str) -> None:
    assert "is off" in refused(word)


@pytest.mark.parametrize(
    ("arm", "word", "acts"),
    [
        ("sft_aux", "rl.sft_auxiliary.weight=1", True),
        ("sft_aux", "rl.sft_auxiliary.final=0.5", False),
        ("sft_aux_decaying", "rl.sft_auxiliary.final=0.5", True),
        ("sft_aux_decaying", "rl.sft_auxiliary.rate=0.5", False),
        ("sft_aux_adaptive", "rl.sft_auxiliary.rate=0.5", True),
        ("kl_cov_verl", "rl.kl_cov.coef=0.5", True),
    ],
)
def test_parameters_act_with_their_arm(arm: str, word: str, acts: bool) -> None:
    if acts:
        assert validate(config(f"rl/entropy={arm}", word), ["rl/entropy", word.partition("=")[0]]) == []
    else:
        assert "cannot act" in refused(f"rl/entropy={arm}", word)


def test_a_key_covers_the_chosen_idea_and_no_other() -> None:
    plain, arm = build(config())["rl"], build(config("rl/entropy=kl_cov"))["rl"]
    assert plain.key != arm.key
    assert "clip_cov" not in plain.config["rl"]
    assert "kl_cov" in arm.config["rl"]
    reached = reachable(["lore_lab.stages.functions.rl"])
    arms = {
        f"lore_lab.train.{name}"
        for name in ("clip_cov", "kl_cov", "dynamic_sampling", "sft_auxiliary", "guided_replay", "stepwise", "arms")
    }
    assert not reached & arms
    assert not {name for name in reached if name.startswith("lore_lab.rewards.")} & {
        f"lore_lab.rewards.{name}" for name in ("exact", "rule_aware")
    }


def test_an_arms_name_alone_makes_no_other_key() -> None:
    assert build(config("rl/entropy=clip_higher"))["rl"].key == build(config("rl.clip_high=0.28"))["rl"].key


def test_arms_are_printed_without_torch() -> None:
    code = "import sys; from lore_lab.cli import main; main(['arms']); assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "2505.22617" in shown

"""Arms that differ where they must not are refused with the field and both values."""

from __future__ import annotations

import pytest

from lore_lab.claims.claim import Claim, load_claim
from lore_lab.claims.confound import axis_values, check_confounds
from lore_lab.claims.run import arm_words
from lore_lab.config.compose import compose
from lore_lab.config.errors import ConfigError
from lore_lab.config.schema import Config
from tests.claims.conftest import Change


def configs(claim: Claim, seeds: tuple[int, ...] = (0,)) -> dict[tuple[str, int], Config]:
    return {key: compose(tuple(words)) for key, words in arm_words(claim).items() if key[1] in seeds}


def test_arms_that_differ_in_the_axis_only_pass(changed: Change) -> None:
    claim = changed()
    check_confounds(claim, configs(claim, (0, 1)))
    assert axis_values(configs(claim).values()) == {"rl.clip_high": ["0.2", "0.28"]}


def test_a_length_limit_that_came_along_is_named_with_both_values(changed: Change) -> None:
    """The published clip-cov and clip-higher scripts differ in length limits too."""
    claim = changed("[rl.clip_high=0.28]", "[rl.clip_high=0.28, rl.max_completion_length=48]")
    with pytest.raises(ConfigError, match=r"arms low and high also differ in rl\.max_completion_length: 64 and 48") as caught:
        check_confounds(claim, configs(claim))
    assert "rl.clip_high:" not in str(caught.value)


def test_a_group_option_that_sets_more_than_the_axis_is_seen_through(changed: Change) -> None:
    claim = changed("[rl.clip_high=0.28]", "[rl/entropy=dapo]")
    with pytest.raises(ConfigError) as caught:
        check_confounds(claim, configs(claim))
    assert "rl.dynamic_sampling.enabled: False and True" in str(caught.value)
    assert "reward.overlong.enabled: False and True" in str(caught.value)
    assert "rl.arm" not in str(caught.value)  # the option's name decides nothing


def test_every_two_arms_are_compared_not_only_with_the_baseline(changed: Change) -> None:
    more = "high: [rl.clip_high=0.28, rl.beta=0.1]\n  higher: [rl.clip_high=0.3, rl.beta=0.1]"
    claim = changed("high: [rl.clip_high=0.28]", more)
    with pytest.raises(ConfigError) as caught:
        check_confounds(claim, configs(claim))
    assert str(caught.value).count("rl.beta: 0.0 and 0.1") == 2
    claim = changed("high: [rl.clip_high=0.28]", "high: [rl.clip_high=0.28]\n  again: [rl.clip_high=0.28]")
    with pytest.raises(ConfigError, match="arms high and again are the same"):
        check_confounds(claim, configs(claim))


def test_a_seed_of_its_own_is_no_way_around(changed: Change) -> None:
    claim = changed()
    broken = configs(claim, (0, 1))
    broken["high", 1] = compose(("rl.clip_high=0.28", "sft.max_steps=399", "seed=1"))
    with pytest.raises(ConfigError, match=r"sft\.max_steps: 600 and 399"):
        check_confounds(claim, broken)


def test_what_follows_is_allowed_where_the_file_says_so(changed: Change) -> None:
    arms = ("[rl.clip_high=0.28]", "[rl.clip_high=0.28, rl.delta=2.0]")
    with pytest.raises(ConfigError, match=r"rl\.delta: None and 2\.0"):
        check_confounds(changed(*arms), configs(changed(*arms)))
    claim = changed(*arms, "axes:", "follows: [rl.delta]\naxes:")
    check_confounds(claim, configs(claim))


def test_an_axis_covers_its_section_and_no_key_that_only_begins_alike(changed: Change) -> None:
    arms = ("[rl.clip_high=0.28]", "[rl.kl_cov.enabled=true]", "[rl.clip_high]", "[rl.kl_cov]")
    check_confounds(changed(*arms), configs(changed(*arms)))
    claim = changed(*arms, "axes: [rl.kl_cov]", "axes: [rl.kl]")
    with pytest.raises(ConfigError, match=r"also differ in rl\.kl_cov\.enabled"):
        check_confounds(claim, configs(claim))


def test_a_declared_axis_in_which_nobody_moves_is_refused(changed: Change) -> None:
    claim = changed("axes: [rl.clip_high]", "axes: [rl.clip_high, rl.beta]")
    with pytest.raises(ConfigError, match=r"axis rl\.beta is declared, but no two arms differ"):
        check_confounds(claim, configs(claim))


def test_another_source_brings_its_companions_and_nothing_more(changed: Change) -> None:
    arms = ("[rl.clip_high=0.28]", "[data=table, data.path=pairs.csv]", "[rl.clip_high=0.2]", "[data=world]", "[rl.clip_high]", "[data]")
    claim = changed(*arms)
    check_confounds(claim, configs(claim))
    broken = changed(*arms, "data.path=pairs.csv", "data.path=pairs.csv, rl.beta=0.1")
    with pytest.raises(ConfigError, match=r"rl\.beta") as caught:
        check_confounds(broken, configs(broken))
    assert "format.name" not in str(caught.value)


@pytest.mark.parametrize("name", ["lore/clip_higher", "lore/naive_cot_pass1", "rl/kl_cov", "agrl/combination"])
def test_a_smuggled_setting_breaks_every_kind_of_shipped_claim(name: str) -> None:
    claim = load_claim(name)
    claim.arms[claim.judged[0]].append("eval.temperature=0.9")
    with pytest.raises(ConfigError, match=r"eval\.temperature: "):
        check_confounds(claim, configs(claim))

"""Every experiment file loads, and its arms compose, are valid, can act and differ in the declared axes only; or it says what it needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.errors import HydraException

from lore_lab.analysis.measures import parse_metric
from lore_lab.claims.claim import EXPERIMENTS, PRETRAINED, Claim, claim_names, load_claim
from lore_lab.claims.confound import check_confounds
from lore_lab.claims.run import arm_words, check_need, plan_claim
from lore_lab.config.compose import compose
from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import touched
from lore_lab.config.schema import Config
from lore_lab.config.validate import validate
from tests.claims.conftest import Change

NAMES = claim_names()


def composed(claim: Claim) -> dict[tuple[str, int], Config]:
    """The valid configs of the first seed. Raises what a run would."""
    words = {key: tuple(own) for key, own in arm_words(claim).items() if key[1] == claim.seeds[0]}
    configs = {key: compose(own) for key, own in words.items()}
    for key, config in configs.items():
        assert validate(config, touched(words[key])) == []
    return configs


@pytest.mark.parametrize("name", NAMES)
def test_a_file_composes_and_its_arms_differ_as_declared_or_it_says_what_it_needs(name: str) -> None:
    claim = load_claim(name)
    parse_metric(claim.metric)
    try:
        configs = composed(claim)
    except (ConfigError, HydraException):
        assert claim.needs, f"{name} does not compose and declares no needs"
        return
    assert claim.needs in ("", PRETRAINED), f"{name} composes: {claim.needs} is there now, so drop `needs` or say what is missing"
    check_confounds(claim, configs)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_reached_by_the_command_in_its_header(name: str) -> None:
    first = (EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# python train.py -m experiment={name}"


def test_nothing_published_is_called_a_smallest_effect_or_a_budget() -> None:
    for name in NAMES:
        assert {"smallest effect", "budget"} <= set(load_claim(name).assumed), name


def test_the_claims_of_all_four_papers_are_there() -> None:
    papers = [name.partition("/")[0] for name in NAMES]
    counts = {paper: papers.count(paper) for paper in sorted(set(papers))}
    assert set(counts) == {"lore", "lref", "agrl", "afrl", "rl"}
    assert len(NAMES) >= 36
    runnable = [name for name in NAMES if not load_claim(name).needs]
    assert len(runnable) >= 18


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tag: assumed", "tags: assumed", "unknown key 'tags'; did you mean tag"),
        ("direction: up\n", "", "direction"),
        ("tag: assumed", "tag: rumour", "tag='rumour' is not one of 'paper', 'secondary', 'assumed'"),
        ("direction: up", "direction: sideways", "direction='sideways' is not one of"),
        ("smallest_effect: 0.01", "smallest_effect: 0", "smallest_effect=0.0 must be > 0"),
        ("smallest_effect: 0.01", "smallest_effect: small", "smallest_effect: "),
        ("[0, 1, 2, 3, 4]", "[0, 1, 2, 3, 3]", "at least 5 different ones"),
        ("baseline: low", "baseline: lowest", "baseline=lowest is no arm (there: high, low)"),
        ("baseline: low", "baseline: low\ncontrols: [high]", "no arm is left to judge"),
        ("baseline: low", "baseline: low\ncontrols: [other]", "controls: other is no arm"),
        ("rl.clip_high=0.28", '"rl.clip_high=0.28,0.3"', "without seed, root and sweeps"),
        ("rl.clip_high=0.28", "rl.clip_high=0.28, seed=3", "without seed, root and sweeps"),
        ("high: [", "High Arm: [", "arms.High Arm"),
        ("tag: assumed", "tag: assumed\ntag: paper", "duplicate"),
        ("tag: assumed", "tag: [", "clip.yaml"),
    ],
)
def test_a_wrong_file_is_refused_by_name(changed: Change, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        changed(old, new)
    assert "test/clip.yaml" in str(caught.value)


def test_an_unknown_claim_is_answered_with_the_nearest(folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean test/clip"):
        load_claim("test/clop", folder)


def test_a_missing_component_is_named_before_anything_is_composed(changed: Change) -> None:
    claim = changed("tag: assumed", "tag: assumed\nneeds: the flux stage")
    with pytest.raises(ConfigError, match="needs the flux stage, which the lab does not have"):
        plan_claim(claim, [], loader=None, master=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [("metric: eval/macro_f1", "metric: plato(rl/entropy)"), ("axes:", "shown: [plato(rl/entropy)]\naxes:")])
def test_an_unreadable_metric_is_refused_before_anything_is_composed(changed: Change, change: tuple[str, str]) -> None:
    claim = changed(*change)
    with pytest.raises(ConfigError, match="did you mean plateau"):
        plan_claim(claim, [], loader=None, master=None)  # type: ignore[arg-type]


def test_a_pretrained_model_is_a_need_a_command_can_meet(changed: Change) -> None:
    claim = changed("tag: assumed", f"tag: assumed\nneeds: {PRETRAINED}")
    with pytest.raises(ConfigError, match=r"add model\.path"):
        check_need(claim, {("low", 0): compose(())})
    check_need(claim, {("low", 0): compose(("model.path=./weights",))})


def test_words_of_the_command_win_and_seed_replaces_the_seeds_of_the_file(changed: Change) -> None:
    claim = changed("baseline: low", "baseline: low\nsetup: [rl.max_steps=40]")
    words = arm_words(claim, ["rl.temperature=0.9", "seed=7,8"])
    assert list(words) == [("low", 7), ("low", 8), ("high", 7), ("high", 8)]  # baseline first
    assert words["high", 8] == ["rl.max_steps=40", "rl.clip_high=0.28", "rl.temperature=0.9", "seed=8"]
    assert [seed for _, seed in arm_words(claim)] == [0, 1, 2, 3, 4] * 2
    with pytest.raises(ConfigError, match=r"rl\.temperature=0\.9,1 cannot be swept"):
        arm_words(claim, ["rl.temperature=0.9,1"])

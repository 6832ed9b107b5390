"""`step=` as a command: whose words win, which are left out where they cannot act, and what is refused before compute."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

import train
from lore_lab.config.errors import ConfigError
from lore_lab.config.recipe import load_recipe
from lore_lab.stages.records import read_json
from lore_lab.steps import chosen_recipe, named_points, run_steps, step_words
from tests.conftest import composed


def load(master: DictConfig, words: list[str]) -> DictConfig:
    """What Hydra's loader gives, its own node included."""
    config = composed(tuple(words)).copy()
    with open_dict(config):
        config.hydra = {}
    return config


LOADER = SimpleNamespace(load_sweep_config=load)
MASTER = OmegaConf.create({"hydra": {"overrides": {"task": []}}})


def words(name: str, steps: list[str], further: list[str]) -> dict[tuple[str, int], list[str]]:
    return step_words(load_recipe(name), steps, [f"recipe={name}", *further], LOADER, MASTER)


def test_every_step_has_the_words_before_it_and_every_seed() -> None:
    found = words("agrl", ["both", "sft"], ["seed=4,5"])
    assert list(found) == [("sft", 4), ("sft", 5), ("both", 4), ("both", 5)]
    assert found["sft", 5] == ["recipe=agrl", "rl=off", "seed=5"]
    assert found["both", 4] == ["recipe=agrl", "rl=grpo", "reward=rule_aware", "rl.guided_replay.enabled=true", "seed=4"]
    assert [seed for _, seed in words("agrl", ["sft"], [])] == [0]


def test_a_further_word_wins_and_is_left_out_only_where_it_cannot_act() -> None:
    found = words("agrl", ["sft", "grpo"], ["rl.max_steps=40", "sft.max_steps=30", "reward=graded"])
    assert found["sft", 0] == ["recipe=agrl", "rl=off", "sft.max_steps=30", "seed=0"]
    assert found["grpo", 0] == ["recipe=agrl", "rl=grpo", "reward=graded", "rl.guided_replay.enabled=false", "rl.max_steps=40", "sft.max_steps=30", "seed=0"]  # fmt: skip
    nowhere = words("agrl", ["sft"], ["rl.max_steps=40"])
    with pytest.raises(ConfigError, match=r"rl\.max_steps cannot act: the rl stage is off"):
        named_points(nowhere, LOADER, MASTER)


def test_steps_that_are_one_point_under_the_commands_words_are_named() -> None:
    with pytest.raises(
        ConfigError, match=r"step rule_aware is the same as grpo, both is the same as guided: take step=sft,dpo,grpo,guided$"
    ):
        named_points(words("agrl", ["each"], ["reward=exact"]), LOADER, MASTER)


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["seed=0,1"], "step=each names steps of one recipe: add recipe="),
        (["recipe=none"], "names steps of one recipe"),
        (["recipe=lore,agrl"], "names steps of one recipe"),
    ],
)
def test_steps_need_one_recipe(further: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen_recipe(["each"], further)


def test_another_axis_and_an_unknown_step_are_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("step=each has its own arms: rl.clip_high=0.2,0.3 cannot be swept beside them")):
        words("agrl", ["each"], ["rl.clip_high=0.2,0.3"])
    with pytest.raises(ConfigError, match="did you mean guided"):
        words("agrl", ["giuded"], [])


def test_steps_are_many_points_and_no_experiment() -> None:
    with pytest.raises(ConfigError, match=r"step=each is many points: use python train\.py -m step=each recipe=lore"):
        train.name_points(["train.py", "recipe=lore", "step=each"])
    with pytest.raises(ConfigError, match="experiment and step are two ways"):
        train.name_points(["train.py", "-m", "experiment=lore/clip_higher", "step=each"])
    argv = ["train.py", "-m", "recipe=lore", "step=rl,naive", "seed=0,1"]
    train.name_points(argv)
    assert argv == ["train.py", "-m", "recipe=lore", "seed=0,1", "hydra.sweeper.step=[rl,naive]"]


class Launcher:
    """Hydra's interface, for one that runs nothing."""

    def launch(self, job_overrides: list[list[str]], initial_job_idx: int) -> list[Any]:
        self.jobs = job_overrides
        return []


def test_the_record_names_the_steps_and_any_launcher_gets_their_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launcher, recipe = Launcher(), load_recipe("agrl")
    with pytest.raises(SystemExit):  # nothing was computed
        run_steps(["sft", "grpo"], ["recipe=agrl", "seed=0,1", f"root={tmp_path}"], LOADER, MASTER, launcher)  # type: ignore[arg-type]
    (folder,) = (tmp_path / "sweeps").iterdir()
    record = read_json(folder / "sweep.json") or {}
    assert [point["arm"] for point in record["points"]] == ["sft", "sft", "grpo", "grpo"]
    given = [point["overrides"] for point in record["points"]]
    assert [[word for word in job if not word.lstrip("+").startswith("hydra")] for job in launcher.jobs] == given
    assert record["command"] == f"python train.py -m recipe=agrl step=sft,grpo seed=0,1 root={tmp_path}"
    assert record["experiment"] == "recipe=agrl"
    assert {own["step"]: own["after"] for own in record["recipe"]["steps"]} == {step: recipe.before(step) for step in recipe.steps}
    assert [own["step"] for own in record["recipe"]["steps"]] == list(recipe.steps)
    assert (folder / "steps.md").exists()
    assert "queued" in capsys.readouterr().out

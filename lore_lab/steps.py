"""`python train.py -m recipe=<name> step=each|a,b`: the steps towards a paper's system as one sweep, each point named by its step."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from lore_lab.command import PLAN_ONLY, Composer, complete, compose_points
from lore_lab.config.errors import ConfigError
from lore_lab.config.guards import inert
from lore_lab.config.overrides import latest, parse, split_seeds, touched, values_of
from lore_lab.config.recipe import RecipeConfig, described, load_recipe
from lore_lab.config.validate import typed
from lore_lab.stages.records import Point


def run_steps(names: Sequence[str], further: Sequence[str], loader: Any, master: DictConfig, launcher: Any) -> None:
    """Every chosen step and seed as one sweep, which ends with the table of steps. Exits non-zero unless every point is done."""
    recipe = chosen_recipe(names, further)
    words = step_words(recipe, names, further, loader, master)
    points = named_points(words, loader, master)
    if os.environ.get(PLAN_ONLY):
        for (step, seed), own in words.items():
            print(f"step {step} seed={seed}: {' '.join(own)}")
    others = [word for word in further if not word.startswith("recipe=")]
    command = shlex.join(["python", "train.py", "-m", f"recipe={recipe.name}", f"step={','.join(names)}", *others])
    seeds = list(dict.fromkeys(str(seed) for _, seed in words))
    complete(points, {"seed": seeds}, command, launcher, f"recipe={recipe.name}", recipe=described(recipe))


def chosen_recipe(names: Sequence[str], further: Sequence[str]) -> RecipeConfig:
    """The one recipe of the command. Raises ConfigError where there is none, or several."""
    found = values_of(parse(further), "recipe")
    if len(found) != 1 or found == ["none"]:
        raise ConfigError(f"step={','.join(names)} names steps of one recipe: add recipe=lore, lref, agrl or afrl, one of them")
    return load_recipe(found[0])


def step_words(
    recipe: RecipeConfig, names: Sequence[str], further: Sequence[str], loader: Any, master: DictConfig
) -> dict[tuple[str, int], list[str]]:
    """(step, seed) -> override words, in the paper's order. further: words of the command, which win.

    A further word that cannot act in a step but acts in another is left out there: `rl.max_steps=40` says nothing of a step without RL. One that
    acts in none stays, to be refused as it would be anywhere. Raises ConfigError for an unknown step or another axis.
    """
    try:
        steps = recipe.pick(list(names))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    seeds, common = split_seeds(further, [0], f"step={','.join(names)}")
    words = {step: latest([*recipe.words(step), *common]) for step in steps}
    compose = Composer(loader, master)
    configs = {step: typed(compose(own)) for step, own in words.items()}
    idle = {step: {word for word in common if inert(config, touched([word]))} for step, config in configs.items()}
    nowhere = set.intersection(*idle.values())
    return {
        (step, seed): [*(word for word in own if word in nowhere or word not in idle[step]), f"seed={seed}"]
        for step, own in words.items()
        for seed in seeds
    }


def named_points(words: dict[tuple[str, int], list[str]], loader: Any, master: DictConfig) -> list[Point]:
    """The checked points, each with its step as arm. Raises ConfigError where two steps are one: nothing would be compared."""
    composed = compose_points(list(words.values()), loader, master)
    points = [dataclasses.replace(point, arm=step) for (step, _), point in zip(words, composed, strict=True)]
    first: dict[str, str] = {}
    same = {point.arm: other for point in points if (other := first.setdefault(point.key, point.arm)) != point.arm}
    if same:
        left = dict.fromkeys(point.arm for point in points if point.arm not in same)
        found = ", ".join(f"{step} is the same as {other}" for step, other in same.items())
        raise ConfigError(f"under this command's words step {found}: take step={','.join(left)}")
    return points

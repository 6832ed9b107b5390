"""A paper's whole system (group `recipe`): its name, the steps that lead to it, and what the paper reports after each.

The option's file sets the system itself, as any `# @package _global_` file does; this section only says which steps come to it. It is
part of no stage key.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lore_lab.config.fields import setting

_FOLDER = Path(__file__).parents[2] / "conf" / "recipe"
#: `step=` that names all of them
EACH = "each"


@dataclass
class StepConfig:
    """One step towards a system: what it adds to the step before it."""

    adds: str = setting("what is added, in a few words")
    words: list[str] = setting("override words, added to those of the step it comes after; a later word on the same key wins")
    after: str = field(default="", metadata={"doc": 'an earlier step; "": the one before it in the list'})
    paper: dict[str, float] = field(default_factory=dict, metadata={"doc": "metric -> what the paper reports after this step"})
    tag: str = field(default="", metadata={"doc": "who says so", "choices": ("", "paper", "secondary")})


@dataclass
class RecipeConfig:
    """A system and its steps, in the paper's order; the last one is the system itself."""

    name: str = setting("the system; none: no paper's", choices=("none", "lore", "lref", "agrl", "afrl"))
    source: str = setting("the paper")
    shows: list[str] = setting("metrics of the picture, the headline first: of the table of runs, or expressions over curves")
    also: list[str] = setting("further metrics of the table")
    steps: dict[str, StepConfig] = setting("step -> what it adds")

    @property
    def last(self) -> str:
        """The step that is the system itself."""
        return list(self.steps)[-1]

    def before(self, step: str) -> str | None:
        """The step that `step` comes after; None for the first."""
        names = list(self.steps)
        place = names.index(step)
        return self.steps[step].after or (names[place - 1] if place else None)

    def lineage(self, step: str) -> list[str]:
        """The steps up to and including `step`, first to last."""
        before = self.before(step)
        return [*(self.lineage(before) if before else []), step]

    def words(self, step: str) -> list[str]:
        """The recipe and the override words of a step and of all it comes after."""
        return [f"recipe={self.name}", *(word for name in self.lineage(step) for word in self.steps[name].words)]

    def pick(self, wanted: Sequence[str]) -> list[str]:
        """The wanted steps in the paper's order, all of them for `each`. Raises ValueError naming the nearest of those there are."""
        unknown = [name for name in wanted if name not in self.steps and wanted != [EACH]]
        if unknown:
            near = difflib.get_close_matches(unknown[0], [*self.steps, EACH], n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ";"
            raise ValueError(f"step={unknown[0]}: recipe={self.name} has no such step{hint} There are: {', '.join(self.steps)}, or {EACH}")
        return [name for name in self.steps if wanted == [EACH] or name in wanted]

    def problems(self) -> list[str]:
        """What is wrong with the list of steps itself."""
        names = list(self.steps)
        odd = [name for name in names if not name.isidentifier() or name == EACH]
        found = [f"step {name!r}: a name is letters, digits and _, and not {EACH}" for name in odd]
        for place, (name, step) in enumerate(self.steps.items()):
            if step.after and step.after not in names[:place]:
                found.append(f"step {name}: after={step.after} is no earlier step")
            if bool(step.paper) != bool(step.tag):
                found.append(f"step {name}: figures of the paper and the tag that says who read them go together")
        return found


def load_recipe(name: str) -> RecipeConfig:
    """The steps of conf/recipe/<name>.yaml. Raises ValueError where they do not fit together."""
    recipe = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RecipeConfig), _read(name)["recipe"]))
    assert isinstance(recipe, RecipeConfig)
    if found := recipe.problems():
        raise ValueError("\n".join(f"recipe/{name}.yaml: {problem}" for problem in found))
    return recipe


def chosen_groups(name: str) -> dict[str, str]:
    """Group -> option, of the groups that conf/recipe/<name>.yaml chooses; none where there is no such file."""
    if not (_FOLDER / f"{name}.yaml").is_file():
        return {}
    entries = [entry for entry in _read(name).get("defaults", []) if isinstance(entry, dict)]
    return {key.removeprefix("override /"): str(option) for entry in entries for key, option in entry.items()}


def described(recipe: RecipeConfig) -> dict[str, Any]:
    """What the record of a sweep over steps keeps of the recipe, as plain data."""
    steps = [{"step": name} | dataclasses.asdict(step) | {"after": recipe.before(name)} for name, step in recipe.steps.items()]
    return {"name": recipe.name, "source": recipe.source, "shows": list(recipe.shows), "also": list(recipe.also), "steps": steps}


def _read(name: str) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(OmegaConf.load(_FOLDER / f"{name}.yaml"))
    return content  # type: ignore[no-any-return]

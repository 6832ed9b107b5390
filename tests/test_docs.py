"""Commands shown in the documentation are accepted by the programs they name."""

import re
import shlex
from pathlib import Path

import pytest

from lore_lab.claims.claim import load_claim
from lore_lab.cli import parser
from lore_lab.command import expand
from lore_lab.config.guards import inert
from lore_lab.config.overrides import check, companions, touched
from lore_lab.config.recipe import load_recipe
from lore_lab.config.validate import problems

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "systems").glob("*.md"))]


def commands(program: str) -> list[tuple[str, str]]:
    """(page, command) of every line of a code block that starts with `program`; a comment or a refusal's example ends it."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                command = re.split(r"\s{2,}|\s#", line.strip())[0]
                if command.startswith(program + " ") or command == program:
                    found.append((page.name, command))
    return found


@pytest.mark.parametrize(("page", "command"), commands("python train.py"))
def test_a_train_command_of_the_docs_is_accepted(compose, page: str, command: str) -> None:  # type: ignore[no-untyped-def]
    words = [word for word in shlex.split(command)[2:] if word not in ("-m", "--plan", "...")]
    for claims in [word.partition("=")[2] for word in words if word.startswith("experiment=")]:
        assert all(load_claim(name).name == name for name in claims.split(","))
    for steps in [word.partition("=")[2] for word in words if word.startswith("step=")]:
        (recipe,) = [word.partition("=")[2] for word in words if word.startswith("recipe=")]
        assert load_recipe(recipe).pick(steps.split(","))
    words = [word for word in words if not word.startswith(("experiment=", "step="))]
    check(words)
    words += companions(words)
    for overrides in expand(words)[0]:
        shown = [word for word in overrides if not word.startswith("hydra")]
        config = compose(*shown)
        assert problems(config) == []
        assert inert(config, touched(shown)) == []


@pytest.mark.parametrize(("page", "command"), commands("lore-lab"))
def test_a_lore_lab_command_of_the_docs_is_accepted(page: str, command: str) -> None:
    parser().parse_args(shlex.split(command)[1:])


def test_there_are_commands_to_test() -> None:
    assert len(commands("python train.py")) > 4
    assert len(commands("lore-lab")) > 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target

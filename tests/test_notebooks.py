"""The committed notebooks read well where nobody runs them: every cell was executed, and none needs more than the analysis. nbmake runs them."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_run_in_order_and_none_failed(path: Path) -> None:
    cells = code(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert all(cell["outputs"] for cell in cells[1:])  # the first may only import


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_the_public_analysis_and_pandas_only(path: Path) -> None:
    trees = [ast.parse("".join(cell["source"])) for cell in code(path)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert modules <= {"lore_lab.analysis", "pandas"}


def test_there_are_four_and_their_runs_are_small() -> None:
    assert len(NOTEBOOKS) == 4
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file() and file.suffix != ".ipynb") < 300_000

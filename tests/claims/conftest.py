"""A claim in memory and in a folder of its own, and a finished sweep of it with invented numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))

from fake_tree import write_sweep

from lore_lab.claims.claim import Claim, load_claim

FILE = """\
claim: A higher upper clip raises macro-F1.
source: a test
tag: assumed
metric: eval/macro_f1
direction: up
smallest_effect: 0.01
baseline: low
arms:
  high: [rl.clip_high=0.28]
  low: [rl.clip_high=0.2]
axes: [rl.clip_high]
seeds: [0, 1, 2, 3, 4]
budget: 1
assumed: [everything]
"""
Change = Callable[..., Claim]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of experiments with one file, test/clip.yaml."""
    path = tmp_path / "experiments" / "test" / "clip.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(FILE)
    return path.parents[1]


@pytest.fixture
def changed(folder: Path) -> Change:
    """`changed("tag: assumed", "tag: paper")` is the claim with that text replaced in its file."""

    def load(*replacements: str) -> Claim:
        text = FILE
        for old, new in zip(replacements[::2], replacements[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        (folder / "test" / "clip.yaml").write_text(text)
        return load_claim("test/clip", folder)

    return load


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the finished sweep `s1` of test/clip: arms low and high, five seeds, high better by 0.03."""
    root = tmp_path_factory.mktemp("outputs")
    write_sweep(root, {"rl.clip_high": ["0.2", "0.28"], "seed": list("01234")})
    name_arms(root, {"0.2": "low", "0.28": "high"})
    return root


def name_arms(root: Path, names: dict[str, str]) -> None:
    """Give the sweep `s1` the arms of an experiment, as a run of test/clip does; names: value of the first axis -> arm."""
    path = root / "sweeps" / "s1" / "sweep.json"
    record = json.loads(path.read_text())
    for point in record["points"]:
        point["arm"] = names[point["overrides"][0].partition("=")[2]]
    path.write_text(json.dumps(record | {"experiment": "test/clip"}))

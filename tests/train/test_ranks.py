"""Two processes learn what one does at the same global batch, idea by idea; and a stage of several processes ends when one of them dies.

The completions are the same on both sides (equivalence.py says how), so that what is compared is everything after them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: of losses, gradient norms and weights; fp32 sums in another order. Seen: docs/cluster.md
TOLERANCE = 2e-4


def results(folder: Path, cases: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Case -> processes ("1", "2") -> what equivalence.py found."""
    file = folder / "results.json"
    command = [sys.executable, "-m", "tests.train.equivalence", str(file), *cases]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert file.exists(), run.stderr[-3000:]
    found: dict[str, dict[str, Any]] = json.loads(file.read_text())
    for case, outcomes in found.items():
        assert None not in outcomes.values(), f"{case}: {run.stderr[-3000:]}"
    return found


def same(case: str, outcomes: dict[str, Any]) -> None:
    one, two = outcomes["1"], outcomes["2"]
    assert one["visited"] == two["visited"], case
    assert len(one["logs"]) == len(two["logs"]) >= 4
    for alone, shared in zip(one["logs"], two["logs"], strict=True):
        for name in (
            "loss",
            "grad_norm",
            "reward",
            "lore/sft_auxiliary/loss",
            "lore/kl_cov/distance",
            "lore/clip_cov/tokens",
            "lore/replay_share",
        ):
            if name in alone:
                assert shared[name] == pytest.approx(alone[name], rel=TOLERANCE, abs=TOLERANCE), (case, name)
    assert two["weights"] == pytest.approx(one["weights"], rel=TOLERANCE, abs=TOLERANCE), case


@pytest.mark.slow  # 13 cases, each trained twice
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    from tests.train.equivalence import CASES

    for case, outcomes in results(tmp_path, CASES).items():
        same(case, outcomes)


def test_sft_and_replay_with_an_auxiliary_loss_in_two_processes(tmp_path: Path) -> None:
    """The fast suite's two: everything an idea may do between ranks is in the second."""
    for case, outcomes in results(tmp_path, ["sft", "replay_and_auxiliary"]).items():
        same(case, outcomes)
        assert any(alone["grad_norm"] > 0 for alone in outcomes["1"]["logs"])


_DYING = """
import os, sys, time
from pathlib import Path
from lore_lab.stages import ranks
from lore_lab.stages.context import StageContext
ranks._GRACE = 1.0

def stage(context):
    if context.rank == 1:
        {end}
    time.sleep(600)  # as a collective that waits for the other
    return {{}}

def die(text):
    print("died:", text, flush=True)
    os._exit(3)

work = Path({folder!r})
ranks.run_ranks(stage, StageContext({{}}, {{}}, work, work, ranks.NoCurves(), print), 2, die)
"""


@pytest.mark.parametrize(("end", "code"), [("os.kill(os.getpid(), 9)", "-9"), ("raise ValueError('no')", "1")])
def test_a_rank_that_dies_ends_the_stage_and_is_named(tmp_path: Path, end: str, code: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _DYING.format(end=end, folder=str(tmp_path))], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 3
    assert f"died: rank 1 of 2 ended with exit code {code}" in run.stdout
    assert os.environ.get("RANK") is None

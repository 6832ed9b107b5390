"""A checkpoint's directory through `python train.py`, and a finished point out of it again as a directory that plain transformers reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import lore_lab.export
from lore_lab.cli import main
from lore_lab.stages.records import read_json
from lore_lab.train.common import load_policy
from tests.end_to_end.conftest import MICRO, ROOT, Lab
from tests.models.checkpoints import make_checkpoint


def final_policy(root: Path, record: dict) -> Path:
    """Folder of the policy that the point ends with."""
    stage = next(stage for stage in record["stages"] if stage["role"] == "rl")
    return root / "store" / stage["stage"] / stage["key"]


def check_export(root: Path, record: dict, folder: Path) -> str:
    """The exported model answers as the point's own policy does; returns its card."""
    own, tokenizer = load_policy(final_policy(root, record), "cpu")
    card = (folder / "README.md").read_text()
    kind = PreTrainedTokenizerFast if "PreTrainedTokenizerFast" in card else AutoTokenizer
    model, read = AutoModelForCausalLM.from_pretrained(folder), kind.from_pretrained(folder)
    prompt = card.split("greedily decoded:\n```\n")[1].split("\n```")[0]
    ids = read(prompt, add_special_tokens=False, return_tensors="pt")
    assert ids["input_ids"].tolist()[0] == tokenizer.encode(prompt, add_special_tokens=False)
    assert torch.equal(model(**ids).logits, own(**ids).logits)
    assert not model.generation_config.do_sample
    assert model.generation_config.max_new_tokens == record["config"]["eval"]["max_completion_length"]
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    assert read_json(folder / "lore_lab.json")["config"] == json.loads(json.dumps(record["config"]))  # type: ignore[index]
    return card


def test_a_finished_point_is_exported_with_its_card_and_reads_back(
    finished: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = finished.points()[0]
    folder = tmp_path / "judge"
    words = ["--root", str(finished.root), "export", record["point"][:8], str(folder)]
    assert main(words) == 0
    card = check_export(finished.root, record, folder)
    value, low = record["metrics"]["eval/macro_f1"], record["metrics"]["eval/macro_f1/low"]
    assert f"| all | {value:.3f} [{low:.3f}, " in card
    assert "python train.py " + " ".join(record["overrides"])[:20] in card
    assert f"commit {record['commit']}" in card
    assert "torch 2." in card
    assert "64 training pairs" in card
    capsys.readouterr()
    assert main(words) == 2
    assert "is there already; export does not overwrite" in capsys.readouterr().err


def test_a_failed_export_leaves_nothing_and_an_unknown_point_is_named(
    finished: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(lore_lab.export, "card", fail)
    key = finished.points()[0]["point"]
    assert main(["--root", str(finished.root), "export", key, str(tmp_path / "judge")]) == 2
    assert list(tmp_path.iterdir()) == []
    assert main(["--root", str(finished.root), "export", "zzz", str(tmp_path / "judge")]) == 2
    assert "0 points under" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("family", "peft"), [("llama", "lora"), ("qwen2", "lora"), ("qwen3", "none")])
def test_a_checkpoint_goes_through_all_stages_and_comes_out_again(tmp_path: Path, family: str, peft: str) -> None:
    folder, root = make_checkpoint(tmp_path / "hub", family), tmp_path / "outputs"
    micro = [word for word in MICRO if not word.startswith(("model.", "prompt."))]
    words = [
        "model=pretrained", f"model.path={folder}", f"peft={peft}", "compute.gradient_checkpointing=true", "rl.beta=0.05", "rl.gradient_accumulation_steps=1",
        "sft.gradient_accumulation_steps=1", "prompt.max_tokens=200", f"root={root}",
    ]  # fmt: skip
    command = [sys.executable, "train.py", *micro, *words]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert first.returncode == 0, first.stdout + first.stderr
    lab = Lab(root)
    (record,) = lab.points()
    assert record["stages"][0]["stage"] == "pretrained"
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert again.returncode == 0
    assert "start" not in again.stderr, "everything is cached"
    assert main(["--root", str(root), "export", record["point"], str(tmp_path / "judge")]) == 0
    card = check_export(root, record, tmp_path / "judge")
    assert ("LoRA, rank 16, alpha 32, merged" in card) == (peft == "lora")
    predictions = pd.read_parquet(next(root.glob("store/eval/*/predictions.parquet")))
    assert predictions["score"].notna().any()

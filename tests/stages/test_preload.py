"""What the fork server changes for every stage: batches that are in their place stay there."""

from __future__ import annotations

from pathlib import Path

import accelerate.data_loader
import pytest
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader

import lore_lab.stages.preload
from tests.train.lab import make


def test_a_batch_of_a_processor_is_handed_on_as_it_is_and_one_of_another_device_is_sent() -> None:
    batch = {"prompt": [[1, 2], [3]], "mask": torch.ones(2)}
    assert lore_lab.stages.preload._sent(batch, torch.device("cpu"), non_blocking=True) is batch
    sent = lore_lab.stages.preload._sent(batch, "meta", non_blocking=False)
    assert sent["prompt"] == batch["prompt"]
    assert sent["mask"].device.type == "meta"


def test_a_prepared_loader_yields_the_same_batches() -> None:
    rows = [{"prompt": [number, number + 1], "example": number} for number in range(4)]
    loader = DataLoader(rows, batch_size=2, collate_fn=list)  # type: ignore[arg-type]
    prepared = prepare_data_loader(loader, device=Accelerator(cpu=True).device, put_on_device=True)
    assert list(prepared) == list(loader) == [rows[:2], rows[2:]]


def test_rl_learns_the_same_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, sent in (("searched", send_to_device), ("handed on", lore_lab.stages.preload._sent)):
        monkeypatch.setattr(accelerate.data_loader, "send_to_device", sent)
        (tmp_path / name).mkdir()
        trainer = make(tmp_path / name)
        trainer.train()
        losses = [(entry["loss"], entry["grad_norm"]) for entry in trainer.state.log_history if "loss" in entry]
        found.append((losses, [weight.detach().clone() for weight in trainer.model.parameters()]))
    (losses, weights), (again, others) = found
    assert losses == again
    assert any(norm > 0 for _, norm in losses)
    assert all(map(torch.equal, weights, others))

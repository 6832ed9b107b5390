"""The hooks of TRL that the lab hangs on, and that hanging on them changes nothing by itself."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from lore_lab.config.arms import active
from lore_lab.config.overrides import groups
from lore_lab.train.trainer import LabTrainer

from . import lab

HOOKS = {
    "_generate_and_score_completions": ["self", "inputs"],
    "_compute_loss": ["self", "model", "inputs"],
    "_get_train_sampler": ["self", "dataset"],
    "get_high_entropy_mask": ["self", "entropies", "mask", "threshold"],
    "_save_checkpoint": ["self", "model", "trial"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
    "log": ["self", "logs", "start_time"],
}


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_have_the_signature_the_lab_was_written_for(hook: str) -> None:
    assert list(inspect.signature(getattr(GRPOTrainer, hook)).parameters) == HOOKS[hook]


def test_log_probs_hook() -> None:
    names = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert names[:7] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"]
    source = inspect.getsource(GRPOTrainer._compute_loss)
    assert source.index("self._get_per_token_logps_and_entropies(") < source.index('inputs["advantages"]')
    assert "advantages.dim() == 1" in source  # (B, T) advantages are accepted


def test_every_loss_type_of_the_schema_has_its_weights() -> None:
    from lore_lab.config.training import RlConfig
    from lore_lab.train.trainer import _NORMALISER

    choices = RlConfig.__dataclass_fields__["loss_type"].metadata["choices"]
    assert set(choices) == set(_NORMALISER)


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in trainer.model.parameters()])


def trained(folder: Path, *overrides: str, **more: Any) -> tuple[Any, torch.Tensor]:
    trainer = lab.make(folder, "rl.max_steps=4", *overrides, **more)
    trainer.train()
    return trainer, weights(trainer)


def test_without_ideas_the_lab_trains_as_plain_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = trained(tmp_path / "a")
    for name in [*HOOKS, "_get_per_token_logps_and_entropies"]:
        if name in LabTrainer.__dict__:
            monkeypatch.setattr(LabTrainer, name, getattr(GRPOTrainer, name))
    _, plain = trained(tmp_path / "b")
    assert torch.equal(ours, plain)


def test_watching_changes_nothing(tmp_path: Path) -> None:
    watched, on = trained(
        tmp_path / "a", "rl.watch.enabled=true", "rl.watch.probe_every=2", "rl.watch.probe_size=3", "rl.watch.probe_samples=2"
    )
    _, off = trained(tmp_path / "b")
    assert torch.equal(on, off)
    names = {name for entry in watched.state.log_history for name in entry if name.startswith("lore/")}
    assert {
        "lore/entropy_label",
        "lore/entropy_decision",
        "lore/accuracy",
        "lore/zero_variance",
        "lore/distinct",
        "lore/probe/pass_at_2",
    } <= names


def test_probe_knows_the_policy_it_started_from(tmp_path: Path) -> None:
    trainer = lab.make(tmp_path, "rl.watch.enabled=true", "rl.watch.probe_every=2", "rl.watch.probe_size=4", "rl.watch.probe_samples=64")
    probe = trainer.ideas[0].probe
    start = probe.measure()
    assert start["kl_reverse"] == pytest.approx(0, abs=1e-6)
    assert start["kl_forward"] == pytest.approx(0, abs=1e-6)
    before = weights(trainer)
    lab.drift(trainer)
    moved = weights(trainer)
    later = probe.measure()
    assert later["kl_forward"] > 0
    assert torch.equal(weights(trainer), moved)
    assert not torch.equal(before, moved)


@pytest.mark.parametrize("arm", groups()["rl/entropy"])
def test_every_arm_takes_steps(tmp_path: Path, arm: str) -> None:
    """Whole arms, TRL's own included: finite losses, weights that move, and the curves by which an arm shows that it acted."""
    more = ["reward.overlong.buffer=2"] if arm == "dapo" else []
    words = [f"rl/entropy={arm}", "rl.max_steps=2", "rl.watch.enabled=true", "rl.watch.probe_every=0", *more]
    trainer = lab.make(tmp_path, *words)
    before = weights(trainer)
    trainer.train()
    after = weights(trainer)
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    logged = {f"rl/{name}" for entry in trainer.state.log_history for name in entry}
    assert {sign.curve for option in active(lab.config(*words)) for sign in option.signs} <= logged

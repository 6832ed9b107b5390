"""Curricula beyond a plain sort: staged pools, the adaptive window, the realised order, and going on after a restart."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trl.trainer.utils import RepeatSampler

from lore_lab.train.curriculum import order
from lore_lab.train.pass_rate_window import PassRateWindow, corrected

from . import lab

DIFFICULTY = np.random.default_rng(0).random(60).tolist()


def test_staged_visits_the_same_prompts_in_pools_of_rising_difficulty() -> None:
    found = order("staged", DIFFICULTY, 60, seed=1, pools=3)
    assert Counter(found) == Counter(order("random", DIFFICULTY, 60, seed=1))
    pools = np.array(DIFFICULTY)[found].reshape(3, 20)
    assert pools[0].max() <= pools[1].min()
    assert pools[1].max() <= pools[2].min()
    assert (np.diff(pools[0]) < 0).any()  # shuffled inside


def test_staged_replay_mixes_earlier_pools_in() -> None:
    plain = np.array(order("staged", DIFFICULTY, 60, seed=1, pools=3)).reshape(3, 20)
    mixed = np.array(order("staged", DIFFICULTY, 60, seed=1, pools=3, replay=0.25)).reshape(3, 20)
    assert set(mixed[0]) == set(plain[0])
    for phase in (1, 2):
        earlier = set(plain[:phase].flatten())
        assert sum(index in earlier for index in mixed[phase]) == 5


def window(**changes: Any) -> PassRateWindow:
    settings: dict[str, Any] = {
        "size": 12, "windows": 4, "prompts": 3, "generations": 2, "repeats": 2, "grades": 4, "bounds": [0.1, 0.9], "memory": 0.5, "seed": 0,
    }  # fmt: skip
    return PassRateWindow(**(settings | changes))


def test_chance_is_taken_out() -> None:
    assert corrected(np.array([0.0, 0.25, 0.625, 1.0]), 4).tolist() == [0, 0, 0.5, 1]


def test_window_lays_out_indices_as_trl_does() -> None:
    sampler = window()
    found = list(sampler)
    chosen = [index for batch in sampler.order for index in batch]
    theirs = RepeatSampler(chosen, mini_repeat_count=2, batch_size=3, repeat_count=2, shuffle=False)
    assert found == [chosen[place] for place in theirs]
    assert len(found) == len(sampler) == len(theirs)


def test_window_keeps_away_from_mastered_and_hopeless_prompts() -> None:
    sampler = window(windows=20, size=9)
    stream, hopeful = iter(sampler), {3, 4, 5}
    for _ in range(20):
        batch = [next(stream) for _ in range(12)][:6]
        rates = {index: 1.0 if index < 3 else 0.5 if index in hopeful else 0.0 for index in batch}
        sampler.observe(batch, [place % 2 == 0 if rates[index] == 0.5 else bool(rates[index]) for place, index in enumerate(batch)])
    assert {index for chosen in sampler.order[:3] for index in chosen} == set(range(9))
    assert all(set(chosen) == hopeful for chosen in sampler.order[4:])


def test_window_starts_from_measured_pass_rates() -> None:
    assert set(window(size=6, start=[1, 1, 1, 0.5, 0.5, 0.6])._choose(0)) == {3, 4, 5}


def test_a_resumed_window_repeats_its_order_then_goes_on() -> None:
    whole, cut = window(), window()
    reference = list(whole)
    stream = iter(cut)
    [next(stream) for _ in range(24)]
    resumed = window()
    resumed.load(cut.state())
    assert list(resumed) == reference


@pytest.mark.parametrize("adaptive", [False, True])
def test_realised_order_survives_a_restart(tmp_path: Path, adaptive: bool) -> None:
    """Four windows in one go, and two, a kill, and two more: the same order, recorded whole."""

    def sampler() -> PassRateWindow | None:
        return PassRateWindow(lab.EXAMPLES, 4, 4, 4, 4, 4, [0.1, 0.9], 0.5, 0) if adaptive else None

    def make(folder: Path, *words: str) -> Any:
        return lab.make(folder, "rl.max_steps=12" if not adaptive else "rl.max_steps=16", "rl.save_windows=1", *words, sampler=sampler())

    whole = make(tmp_path / "whole")
    whole.train()
    cut = make(tmp_path / "cut")
    cut.args.save_total_limit = None
    cut.train()
    for later in (tmp_path / "cut" / "checkpoints").glob("checkpoint-*"):
        if int(later.name.rpartition("-")[2]) > 8:
            shutil.rmtree(later)
    resumed = make(tmp_path / "cut")
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoints" / "checkpoint-8"))
    assert len(whole.realised) == (16 if adaptive else 12)
    assert whole.realised == cut.realised == resumed.realised

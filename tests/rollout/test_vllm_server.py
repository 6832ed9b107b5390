"""rollout=vllm_server against a server that computes with a transformers model: weights, seeds, log-probs, and what stops a run.

What vLLM itself makes of the same calls: tests/vllm, `make test-vllm`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock, Timeout
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from lore_lab.endpoint import EndpointError
from lore_lab.rollout.choose import Place, choose_engine
from lore_lab.rollout.engine import Sampling, TransformersEngine, WeightsError
from lore_lab.rollout.vllm_server import merged_weights
from tests.rollout.server import Served, serving
from tests.train import lab

PROMPTS = [[20], [21, 22, 23], [24, 25], [26, 27, 28, 29], [30, 31]]
ENDS = tuple(range(50, 100))
SERVER = ("rollout=vllm_server", "rollout.concurrency=4")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    trainer = lab.make(tmp_path_factory.mktemp("policy"))
    lab.drift(trainer)
    return trainer.model.eval(), trainer.processing_class


@pytest.fixture
def served(policy: Any) -> Iterator[tuple[Served, str]]:
    """A server that starts with other weights than the policy's."""
    set_seed(99)  # not a deep copy: what a trainer puts around forward would still lead to the policy
    other = type(policy[0])(copy.deepcopy(policy[0].config))
    served = Served(other)
    with serving(served) as address:
        yield served, address


def engine(policy: Any, address: str, folder: Path, *words: str, trains: bool = False, model: Any = None, tokens: int = 100) -> Any:
    settings = lab.config(*SERVER, f"rollout.base_url={address}", *words)
    return choose_engine(Place(settings, model or policy[0], policy[1], ENDS, tokens, folder, folder / "shared", trains))


def test_the_server_gets_the_policys_weights_and_gives_its_greedy_completions(policy: Any, served: Any, tmp_path: Path) -> None:
    made = engine(policy, served[1], tmp_path)
    assert served[0].reloads == 1
    expected = TransformersEngine(policy[0], 0, ENDS).generate(PROMPTS, Sampling(0.0, 8))
    assert made.generate(PROMPTS, Sampling(0.0, 8)) == expected


def test_scores_are_those_of_the_model(policy: Any, served: Any, tmp_path: Path) -> None:
    choices = [[[40], [41, 42]], [[43]], [[44], [45], [46, 47, 48]], [[40]], [[49]]]
    found = engine(policy, served[1], tmp_path).score(PROMPTS, choices)
    expected = TransformersEngine(policy[0], 0, ENDS).score(PROMPTS, choices)
    assert [value for row in found for value in row] == pytest.approx([value for row in expected for value in row], abs=1e-4)


def test_one_seed_repeats_two_differ_and_rows_of_one_prompt_differ(policy: Any, served: Any, tmp_path: Path) -> None:
    made = engine(policy, served[1], tmp_path)
    runs = []
    for seed in (1, 2, 1):
        set_seed(seed)
        runs.append([made.sample([[20, 21]] * 8, Sampling(1.0, 6)) for _ in range(2)])
    assert runs[0] == runs[2]
    assert runs[0] != runs[1]
    assert runs[0][0] != runs[0][1], "a second call draws anew"
    assert len(set(map(tuple, runs[0][0][0]))) > 4
    state = torch.get_rng_state()
    made.generate(PROMPTS, Sampling(0.0, 4))
    assert torch.equal(state, torch.get_rng_state()), "greedy draws nothing"


def test_every_sampling_setting_is_sent(policy: Any, served: Any, tmp_path: Path) -> None:
    """A server fills in what is left out from the checkpoint's own generation settings."""
    engine(policy, served[1], tmp_path).generate([[20]], Sampling(0.7, 5, 0.9, 11))
    sent = {name: value for name, value in served[0].requests[-1].items() if name not in ("seed", "stop_token_ids", "prompt", "model")}
    assert sent == {
        "temperature": 0.7, "top_p": 0.9, "top_k": 11, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0,
        "max_tokens": 5, "n": 1, "logprobs": 0, "skip_special_tokens": False, "return_token_ids": True,
    }  # fmt: skip


def test_a_server_that_keeps_its_old_weights_is_found_out(policy: Any, served: Any, tmp_path: Path) -> None:
    served[0].deaf = True
    with pytest.raises(WeightsError, match=r"nats a token from the trainer's, more than rollout.max_logp_difference=0.1"):
        engine(policy, served[1], tmp_path)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"logprobs_mode": "raw_logprobs"}, "returns raw_logprobs, not what it samples from: start it with"),
        ({"max_model_len": 99}, "takes 99 tokens"),
    ],
)
def test_a_server_started_otherwise_is_refused(policy: Any, served: Any, tmp_path: Path, setting: dict[str, Any], told: str) -> None:
    served[0].settings |= setting
    with pytest.raises(EndpointError, match=told):
        engine(policy, served[1], tmp_path)


def test_a_server_serves_one_stage_at_a_time(policy: Any, served: Any, tmp_path: Path) -> None:
    made = engine(policy, served[1], tmp_path)
    (path,) = (tmp_path / "shared" / "servers").glob("*.lock")
    with pytest.raises(Timeout):
        FileLock(path, thread_local=False).acquire(timeout=0)
    del made


RL = ("rl.max_steps=4", "rl.watch.enabled=true", "rl.watch.probe_every=2", "rl.watch.probe_size=2", "rl.watch.probe_samples=2")


def trained(folder: Path, policy: Any, address: str, *words: str) -> Any:
    """A trainer of four steps, two generation batches, whose engine is the server."""
    made = lab.make(
        folder, *RL, *words, engine=lambda model, end: engine((model, policy[1]), address, folder, *words, trains=True),
    )  # fmt: skip
    made.train()
    return made


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_rl_samples_from_the_weights_of_each_step(policy: Any, served: Any, tmp_path: Path) -> None:
    trainer = trained(tmp_path, policy, served[1])
    assert served[0].reloads == 3, (
        "at the start (the probe's reference), after steps 2 (probe) and 4 (probe): the batch of step 3 finds them fresh"
    )
    gaps = logged(trainer, "sampling/sampling_logp_difference/mean")
    assert len(gaps) == 1 or max(gaps) < 1e-4
    assert max(gaps) < 1e-4
    assert max(logged(trainer, "lore/engine_difference")) < 1e-4
    assert min(logged(trainer, "sampling/importance_sampling_ratio/min")) == pytest.approx(1, abs=1e-3)


def test_rl_stops_when_the_engine_leaves_the_policy(policy: Any, served: Any, tmp_path: Path) -> None:
    def deaf(trainer: Any) -> None:
        served[0].deaf = True
        lab.drift(trainer)

    made = lab.make(
        tmp_path, "rl.watch.enabled=false", engine=lambda model, end: engine((model, policy[1]), served[1], tmp_path, trains=True)
    )
    lab.window(made)
    deaf(made)
    made.state.global_step = 1
    with pytest.raises(WeightsError, match="its weights are stale"):
        lab.window(made)


@pytest.mark.parametrize("correction", ["none", "token_truncate"])
def test_the_correction_is_the_configs(policy: Any, served: Any, tmp_path: Path, correction: str) -> None:
    words = ("rollout.correction=" + correction, "rl.top_k=0")
    made = lab.make(tmp_path, *words, engine=lambda model, end: engine((model, policy[1]), served[1], tmp_path, *words, trains=True))
    batch = lab.window(made)
    assert ("importance_sampling_ratio" in batch) == (correction != "none")
    assert "sampling_per_token_logps" in batch, "the bound is kept either way"
    assert made.args.vllm_importance_sampling_clip_max == 3.0


def test_replayed_completions_have_no_engine_log_probs(policy: Any, served: Any, tmp_path: Path) -> None:
    words = ("rl.guided_replay.enabled=true", "rl.guided_replay.share=0.5")
    made = lab.make(
        tmp_path, *words, judge=lambda indices, completions: lab.parity(indices, [[1]] * len(completions)),
        engine=lambda model, end: engine((model, policy[1]), served[1], tmp_path, trains=True),
    )  # fmt: skip
    batch = lab.window(made)
    assert batch["replayed"].any()
    ratio = batch["importance_sampling_ratio"].expand_as(batch["completion_ids"])
    assert torch.allclose(ratio, torch.ones_like(ratio), atol=1e-3)


def test_adapters_are_merged_into_what_is_served_and_taken_out_again(policy: Any) -> None:
    bare = type(policy[0])(copy.deepcopy(policy[0].config))
    bare.load_state_dict(policy[0].state_dict())
    adapted = get_peft_model(bare, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    before = {name: value.clone() for name, value in adapted.named_parameters()}
    with merged_weights(adapted) as weights:
        found = {name: value.clone() for name, value in weights.items()}
    merged = copy.deepcopy(adapted).merge_and_unload()
    expected = dict(merged.named_parameters())
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.detach(), atol=1e-6, rtol=1e-5)
    assert not torch.equal(
        found["model.layers.0.self_attn.q_proj.weight"], dict(policy[0].named_parameters())["model.layers.0.self_attn.q_proj.weight"]
    )
    for name, value in adapted.named_parameters():
        torch.testing.assert_close(value, before[name], atol=1e-6, rtol=1e-5)

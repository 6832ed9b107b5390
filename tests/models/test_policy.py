"""What a training stage hands on is loaded again as it was trained: whole weights, adapters on adapters, and the reference they are held to."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lore_lab.config.validate import typed
from lore_lab.stages.context import StageContext, namespace
from lore_lab.stages.functions import data, pretrained, rl, sft
from lore_lab.stages.graph import build
from lore_lab.stages.store import Artifact
from lore_lab.tracking.local import CurveWriter, read_table
from lore_lab.train.common import ADAPTER, NOTE, adapted, load_policy, save_policy
from tests.conftest import composed
from tests.models.checkpoints import make_checkpoint, make_tokenizer

LORA = namespace({"name": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": ["q_proj", "v_proj", "down_proj"]})
IDS = torch.tensor([[7, 30, 41, 52, 60, 12, 9, 33]])


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=IDS).logits


def point(*words: str) -> dict[str, Any]:
    """The stages of a tiny point. No completion of a random model is valid, so an entropy bonus moves it."""
    settings = (
        "data.size=24", "prompt.max_tokens=160", "sft.max_steps=3", "sft.per_device_train_batch_size=4", "sft.gradient_accumulation_steps=1",
        "sft.learning_rate=0.05", "rl.max_steps=4", "rl.num_generations=4", "rl.per_device_train_batch_size=4", "rl.steps_per_generation=2",
        "rl.gradient_accumulation_steps=1", "rl.num_iterations=1", "rl.max_completion_length=6", "rl.learning_rate=0.05", "rl.watch.probe_every=0",
        "rl.save_windows=1", "rl.entropy_coef=0.5", "eval.max_completion_length=6", "compute.device=cpu", *words,
    )  # fmt: skip
    return dict(build(typed(composed(settings))))


def run(folder: Path, nodes: dict[str, Any], role: str, function: Any, done: dict[str, Artifact]) -> Artifact:
    """Make the artifact of `role` as the worker does, in a store's layout under `folder`."""
    node = nodes[role]
    output, work = folder / "store" / node.stage / node.key, folder / "work" / node.id
    output.mkdir(parents=True)
    work.mkdir(parents=True, exist_ok=True)
    curves = CurveWriter(work, node.stage)
    inputs = {name: done[source.role] for name, source in node.inputs.items()}
    metrics = function(StageContext(node.config, inputs, output, work, curves, lambda *_: None))
    curves.close()
    done[role] = Artifact(node.stage, node.key, output, {"metrics": metrics})
    return done[role]


def curve(work: Path, name: str) -> list[float]:
    """A curve's values, by step."""
    return [row["value"] for row in read_table(work).to_pylist() if row["name"] == name]


def trained(folder: Path, *words: str) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """A point's stages and their artifacts, `rl` last."""
    nodes, done = point(*words), dict[str, Artifact]()
    for role, function in (("data", data.train), ("base", pretrained.run), ("sft", sft.run), ("rl", rl.run)):
        run(folder, nodes, role, function, done)
    return nodes, done


LORA_WORDS = ("model=pretrained", "peft=lora", "rl.beta=0.1")


def check_chain(folder: Path, done: dict[str, Artifact]) -> None:
    """Each adapter moved the policy below it, and merged or not it comes to the same logits."""
    below = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits(below), logits(load_policy(done["base"].path, "cpu")[0]))
    for role in ("sft", "rl"):
        path = done[role].path
        assert not list(path.glob("model*"))
        start = logits(below)
        with_adapter = logits(PeftModel.from_pretrained(below, str(path)))
        merged, _ = load_policy(path, "cpu")
        assert not isinstance(merged, PeftModel)
        torch.testing.assert_close(logits(merged), with_adapter, rtol=0, atol=2e-5)
        assert (with_adapter - start).abs().max() > 0.01
        below = merged


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Artifact]]:
    """(root, stages, artifacts) of SFT and RL with adapters on a Llama checkpoint, whose directory is root/hub."""
    root = tmp_path_factory.mktemp("chain")
    folder = make_checkpoint(root / "hub", "llama")
    return root, *trained(root, *LORA_WORDS, f"model.path={folder}")


def test_adapters_of_sft_and_rl_are_loaded_merged_with_the_logits_they_had(chain: tuple[Path, dict[str, Any], dict[str, Artifact]]) -> None:
    """Through the stages, from a directory as the hub has it: sft on the checkpoint, rl on sft, each handing on its adapter only."""
    root, _, done = chain
    assert len(list((root / "hub").glob("model-*.safetensors"))) > 1
    check_chain(root / "hub", done)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_so_are_those_of_the_other_families(tmp_path: Path, family: str) -> None:
    folder = make_checkpoint(tmp_path / "hub", family)
    check_chain(folder, trained(tmp_path, *LORA_WORDS, f"model.path={folder}")[1])


def test_rl_is_held_to_the_policy_it_starts_from_and_not_to_the_checkpoint(chain: tuple[Path, dict[str, Any], dict[str, Artifact]]) -> None:
    """The KL to the reference is zero before the first update, although SFT moved far from the checkpoint, and is not later."""
    root, nodes, _ = chain
    kl = curve(root / "work" / nodes["rl"].id, "rl/kl")
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert max(kl[1:]) > 1e-3


def test_an_interrupted_stage_goes_on_with_its_adapter_and_its_reference(
    chain: tuple[Path, dict[str, Any], dict[str, Artifact]], tmp_path: Path
) -> None:
    """RL under a KL keeps two adapters; a restart from a checkpoint ends with the very weights of an undisturbed run."""
    _, nodes, done = chain
    again = {role: artifact for role, artifact in done.items() if role != "rl"}

    def interrupted(context: StageContext) -> Any:
        def progress(step: int, total: int, text: str) -> None:
            if step == 3:
                raise KeyboardInterrupt

        return rl.run(dataclasses.replace(context, progress=progress))

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, nodes, "rl", interrupted, again)
    shutil.rmtree(tmp_path / "store")
    run(tmp_path, nodes, "rl", rl.run, again)
    assert json.loads((tmp_path / "work" / nodes["rl"].id / "resumed.json").read_text())["step"] == 2
    first, second = (load_file(artifacts["rl"].path / ADAPTER) for artifacts in (done, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_whole_weights_of_a_checkpoint_are_trained_and_handed_on(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "hub", "qwen3")
    _, done = trained(tmp_path, "model=pretrained", f"model.path={folder}", "rl.beta=0.1")
    one, two = (load_policy(done[role].path, "cpu")[0] for role in ("sft", "rl"))
    assert (logits(one) - logits(two)).abs().max() > 0.01
    assert (done["rl"].path / "model.safetensors").is_file()
    assert one.config._attn_implementation == "sdpa"


def test_an_adapter_on_bfloat16_weights_is_float32_and_merges_into_their_type(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "hub", "llama")
    base = tmp_path / "store" / "pretrained" / "b"
    base.mkdir(parents=True)
    nodes = point("model=pretrained", f"model.path={folder}", "peft=lora", "model.dtype=bfloat16", "model.attention=eager")
    pretrained.run(StageContext(nodes["base"].config, {}, base, tmp_path, None, lambda *_: None))  # type: ignore[arg-type]
    model, tokenizer = load_policy(base, "cpu")
    assert (model.dtype, model.config._attn_implementation) == (torch.bfloat16, "eager")
    wrapped = adapted(model, LORA, 5)
    kinds = {parameter.dtype for parameter in wrapped.parameters() if parameter.requires_grad}
    assert kinds == {torch.float32}
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    expected = logits(wrapped).float()
    path = tmp_path / "store" / "sft" / "s"
    path.mkdir(parents=True)
    save_policy(wrapped, tokenizer, path, on=base)
    merged, _ = load_policy(path, "cpu")
    assert merged.dtype == torch.bfloat16
    assert merged.config._attn_implementation == "eager"
    torch.testing.assert_close(logits(merged).float(), expected, rtol=0.02, atol=0.1)


def test_a_fresh_adapter_changes_nothing_is_drawn_by_its_seed_and_knows_its_layers(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "hub", "qwen2")
    load = AutoModelForCausalLM.from_pretrained
    plain = load(folder)
    one, same, other = (dict(adapted(load(folder), LORA, seed).named_parameters()) for seed in (1, 1, 2))
    assert torch.equal(logits(adapted(load(folder), LORA, 1)), logits(plain))
    name = next(name for name in one if "lora_A" in name)
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
    assert adapted(plain, namespace({"name": "none"}), 1) is plain
    with pytest.raises(ValueError, match="no linear layer c_attn; there are down_proj"):
        adapted(plain, namespace(vars(LORA) | {"targets": ["c_attn"]}), 1)


def test_an_adapter_needs_the_policy_below_it_and_no_pickle_takes_its_place(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "hub", "qwen2")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), make_tokenizer("qwen2")
    with pytest.raises(ValueError, match="nothing without the policy"):
        save_policy(adapted(model, LORA, 1), tokenizer, tmp_path)
    path = tmp_path / "store" / "sft" / "s"
    path.mkdir(parents=True)
    (path / NOTE).write_text(json.dumps({"on": "../../base/b"}))
    (path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(FileNotFoundError, match=ADAPTER):
        load_policy(path, "cpu")


@pytest.mark.parametrize("peft", [pytest.param("none", marks=pytest.mark.slow), "lora"])
def test_gradient_checkpointing_changes_no_weight(tmp_path: Path, peft: str) -> None:
    folder = make_checkpoint(tmp_path / "hub", "qwen2")
    ends = []
    for word in ("false", "true"):
        words = ("model=pretrained", f"model.path={folder}", f"peft={peft}", f"compute.gradient_checkpointing={word}")
        nodes, done = point(*words), dict[str, Artifact]()
        for role, function in (("data", data.train), ("base", pretrained.run), ("sft", sft.run)):
            run(tmp_path / word, nodes, role, function, done)
        ends.append(logits(load_policy(done["sft"].path, "cpu")[0]))
    torch.testing.assert_close(*ends, rtol=0, atol=1e-4)

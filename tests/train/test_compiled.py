"""Training with compiled layers against training without, through the stages' own `train_sft`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch._functorch.config
import torch._inductor.config
from torch._dynamo.utils import counters
from torch._inductor.codegen.cpp import CppKernel
from transformers import Qwen3Config, Qwen3ForCausalLM

import lore_lab.train.attention  # noqa: F401  (known to transformers from here on)
from lore_lab.config.compose import compose
from lore_lab.stages.graph import plain
from lore_lab.train.base import train_tokenizer
from lore_lab.train.common import adapted
from lore_lab.train.sft import train_sft
from tests.train.lab import make
from tests.train.test_base import TEXTS

WIDTH = 16


@pytest.fixture
def compiled(tmp_path: Path) -> Iterator[Any]:
    """Turns compiling on for what follows in the test."""
    with patch.dict(os.environ, {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}):
        yield lambda: [importlib.reload(importlib.import_module(f"lore_lab.train.{name}")) for name in ("compiler", "compiled")][1]


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


class Layers(torch.nn.Module):
    """Two blocks alike, as accelerate looks for, called as transformers calls a decoder's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(1, WIDTH)
        self.layers = torch.nn.ModuleList([Block(), Block()])

    def forward(self, given: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        given = given + self.embedding.weight
        for layer in self.layers:
            given = layer(given, attention_mask=mask, past_key_values=None, use_cache=False)
        return given


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, given: torch.Tensor, attention_mask: torch.Tensor | None, **rest: Any) -> torch.Tensor:
        scores = given @ given.transpose(1, 2)
        if attention_mask is not None:
            scores = scores + attention_mask[:, 0]
        return given + scores.softmax(-1) @ self.inner(given)


def trained(work: Path, *words: str, begin: int = 0) -> tuple[list[float], dict[str, torch.Tensor]]:
    """(losses, weights) of four steps on rows of many lengths. begin: tokens that all prompts begin with."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16
    )
    point = compose(("sft.max_steps=4", "sft.per_device_train_batch_size=8", "sft.warmup_steps=0", "sft.learning_rate=0.03", *words))
    compute = SimpleNamespace(**plain(point)["compute"] | {"device": "cpu"})
    model = adapted(Qwen3ForCausalLM(config), point.peft, 0)
    drawn = torch.Generator().manual_seed(1)
    start = torch.randint(3, 60, (begin,), generator=drawn).tolist()
    rows = [torch.randint(3, 60, (int(length),), generator=drawn).tolist() for length in torch.randint(4, 30, (32,), generator=drawn)]
    losses: list[float] = []
    train_sft(
        point.sft, 0, compute, model, train_tokenizer(TEXTS, 300), [[*start, *row[:-3]] for row in rows], [row[-3:] for row in rows], work,
        lambda step, numbers: losses.append(numbers["loss"]) if "loss" in numbers else None, lambda *_: None,
    )  # fmt: skip
    return losses, {name: weight.detach().clone() for name, weight in model.named_parameters()}


def alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """As a whole, tensor by tensor: Adam makes a step of what is nothing but rounding in a single weight."""
    for name, weight in expected.items():
        assert (found[name] - weight).norm() < 1e-3 * weight.norm(), name


@pytest.mark.parametrize(
    ("backend", "words", "begin"),
    [
        ("aot_eager", (), 0),  # what is compiled for, without a C++ compiler's work
        *(
            pytest.param(backend, words, begin, marks=pytest.mark.slow)
            for backend in ("aot_eager", "inductor")
            for words, begin in (((), 40), (("compute.length_buckets=1",), 0), (("peft=lora",), 0))
        ),
    ],
)
def test_losses_and_weights_are_those_without(tmp_path: Path, compiled: Any, backend: str, words: tuple[str, ...], begin: int) -> None:
    torch._dynamo.reset()
    counters.clear()
    losses, weights = trained(tmp_path / "plain", *words, begin=begin)
    assert counters["frames"]["ok"] == 0, "what is compared with was compiled, too"
    compiled()
    os.environ["ACCELERATE_DYNAMO_BACKEND"] = backend
    found, trained_weights = trained(tmp_path / "compiled", *words, begin=begin)
    assert counters["frames"]["ok"] > 0, "nothing was compiled"
    assert found == pytest.approx(losses, rel=1e-4)
    alike(trained_weights, weights)


def updated(folder: Path, *words: str) -> tuple[list[dict[str, float]], dict[str, torch.Tensor], int]:
    """(metrics, weights, generation batches) of four RL steps on two generation batches. Weights are wide, so that steps move them."""
    folder.mkdir()
    economies = ("compute.prompts_once=true", "compute.length_buckets=2", "model.num_hidden_layers=2", "model.initializer_range=0.2")
    trainer = make(folder, *economies, "rl.num_iterations=1", *words)
    batches: list[int] = []
    score = trainer.score
    trainer.score = lambda rows: batches.append(len(rows)) or score(rows)
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    return steps, {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}, len(batches)


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("aot_eager", ()),
        *(
            pytest.param(backend, words, marks=pytest.mark.slow)
            for backend in ("aot_eager", "inductor")
            for words in (("compute.prompts_once=false",), ("rl.beta=0.1", "rl.entropy_coef=0.01"), ("model.attention=grouped",))
        ),
    ],
)
def test_rl_is_that_without(tmp_path: Path, compiled: Any, backend: str, words: tuple[str, ...]) -> None:
    torch._dynamo.reset()
    counters.clear()
    steps, weights, batches = updated(tmp_path / "plain", *words)
    assert batches == 2
    assert counters["frames"]["ok"] == 0, "what is compared with was compiled, too"
    compiled()
    os.environ["ACCELERATE_DYNAMO_BACKEND"] = backend
    found, trained_weights, again = updated(tmp_path / "compiled", *words)
    assert counters["frames"]["ok"] > 0, "nothing was compiled"
    assert again == batches, "it samples anew for every step: TRL takes it for an evaluation"
    for own, expected in zip(found, steps, strict=True):
        told = {name for name in ("loss", "grad_norm", "reward", "entropy") if name in expected}
        assert {name: own[name] for name in told} == pytest.approx({name: expected[name] for name in told}, rel=1e-3, abs=1e-4)
    assert any(step["grad_norm"] > 0 for step in steps), "no step moved anything"
    alike(trained_weights, weights)


def test_layers_behind_a_prompt_share_one_graph_which_is_made_for_one_size(tmp_path: Path, compiled: Any) -> None:
    """Graphs of RL's own: one of the layers, whatever rows come first, none of the pass that fills the cache."""
    torch._dynamo.reset()
    made: list[list[int]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        made.append(sorted({value.node.hint for value in inputs if isinstance(value, torch.SymInt)}))
        return graph.forward

    module = compiled()
    trainer = make(tmp_path, "compute.prompts_once=true", "model.num_hidden_layers=2")
    model = module.compile_at_fixed_sizes(trainer.model, backend=backend, dynamic=True)
    for prompt, rows, tokens in ((5, 4, 7), (9, 3, 4), (3, 6, 12)):
        ids = torch.randint(20, 60, (rows, prompt + tokens))
        mask = torch.ones_like(ids)
        found, *_ = trainer._forward(model, ids, mask, tokens)
        expected, *_ = trainer._forward(trainer.model, ids, mask, tokens)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    behind = [sizes for sizes in made if module.BEFORE in sizes]
    assert len(behind) == 1, made
    assert set().union(*made) <= {module.ROWS, module.TOKENS, module.BEFORE, module.BEFORE + module.TOKENS}


def test_what_is_kept_of_an_autograd_function_is_its_own(tmp_path: Path, compiled: Any) -> None:
    """A graph kept of a layer whose autograd function went backward otherwise is not taken: its forward pass is the same."""
    found = []
    for factor in (1.0, 3.0):

        class Scaled(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, given: torch.Tensor) -> torch.Tensor:
                return given * 1.0

            @staticmethod
            def backward(ctx: Any, grad: torch.Tensor, factor: float = factor) -> torch.Tensor:
                return grad * factor

        torch._dynamo.reset()
        module = compiled()
        block = Block()
        block.register_forward_pre_hook(lambda _, args, function=Scaled: (function.apply(args[0]),))
        layers = torch.nn.Module()
        layers.layers = torch.nn.ModuleList([block, block])
        regions = module.compile_at_fixed_sizes(layers, backend="aot_eager", dynamic=True)
        given = torch.randn(4, 30, WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
        regions.layers[0](given, attention_mask=None).sum().backward()
        found.append(given.grad)
    assert not torch.allclose(found[0], found[1])


def test_what_is_compiled_is_kept_in_the_users_own_folder(tmp_path: Path, compiled: Any) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/tmp/torchinductor_somebody"  # as torch itself leaves it
    compiled()
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.parent == tmp_path / "cache" / "lore_lab" / "compiled"
    assert folder.stat().st_mode & 0o077 == 0


def test_another_torch_is_refused_in_a_way_that_the_fork_server_survives(compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(CppKernel, "need_use_acc_helper")
    with pytest.raises(ImportError, match=r"compute\.compile=false"):  # all that multiprocessing's server passes over
        compiled()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, compiled: Any) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ImportError, match=f"{tmp_path}.*XDG_CACHE_HOME"):
        compiled()


@pytest.mark.parametrize("mask", [False, True])
def test_a_graph_is_made_for_rows_of_one_size_whatever_comes_first(compiled: Any, mask: bool) -> None:
    torch._dynamo.reset()
    made: list[list[int]] = []
    kept: list[bool] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        made.append([value.node.hint for value in inputs if isinstance(value, torch.SymInt)])  # int(value) would fix it
        kept.append(torch._inductor.config.fx_graph_cache and torch._functorch.config.enable_autograd_cache)
        return graph.forward

    model = Layers()
    regions = compiled().compile_at_fixed_sizes(model, backend=backend, dynamic=True)
    for rows, tokens in ((4, 30), (13, 89), (2, 2), (WIDTH, WIDTH), (7, 100)):
        given = torch.randn(rows, tokens, WIDTH)
        own = torch.ones(rows, 1, tokens, tokens).tril().log() if mask else None
        torch.testing.assert_close(regions(given, own), model(given, own))
    assert made, "nothing was compiled"
    assert {tuple(sorted(sizes)) for sizes in made} == {(13, 89)}
    assert all(kept), "it is made anew by every stage"
    assert not torch._inductor.config.fx_graph_cache, "what is compiled for rows of another size is kept"
    assert not torch._functorch.config.enable_autograd_cache
    assert all(weight.grad is None for weight in model.parameters())
    assert type(regions.embedding) is torch.nn.Embedding, "its gradient would be added up in any order"


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_weights_depend_neither_on_what_was_compiled_before_nor_on_when_a_thread_ends(tmp_path: Path, compiled: Any) -> None:
    found = []
    for history in ((), (7,), (7, 2)):
        with patch.dict(os.environ, {"XDG_CACHE_HOME": str(tmp_path / str(history))}):
            compiled()
            for rows in (*history, 8):
                torch._dynamo.reset()
                counters.clear()
                weights = trained(tmp_path / f"{history} {rows}", f"sft.per_device_train_batch_size={rows}")[1]
        taken = counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"]
        assert bool(taken) == bool(history), "graphs are kept for no later stage, or were not away"
        found.append(weights)
    for later in found[1:]:
        for name, weight in found[0].items():
            assert torch.equal(later[name], weight), name

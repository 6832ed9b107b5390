"""A real vLLM server on loopback: it serves the policy whose weights it is given, and it is a teacher like any other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import urllib3
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, set_seed

from lore_lab.rollout.choose import Place, choose_engine
from lore_lab.rollout.engine import Sampling, TransformersEngine
from lore_lab.teacher.script import Script
from lore_lab.train.base import train_tokenizer
from tests.teacher.test_teach import GRADES, example, stage
from tests.train import lab

pytest.importorskip("vllm", reason="make test-vllm")
pytestmark = [pytest.mark.slow, pytest.mark.vllm]

REPLY = {"product rule": "it is the wanted kind of thing", "modifier rule": "every modifier holds", "grade": 2}
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
ENDS = (1,)
COMMAND = (
    sys.executable,
    "-m",
    "vllm.entrypoints.openai.api_server",
    "--model",
)  # what `vllm serve` runs; the CPU build has no such command
OPTIONS = ("--served-model-name", "policy", "--host", "127.0.0.1", "--max-model-len", "2048", "--logprobs-mode", "processed_logprobs",
           "--max-num-seqs", "32", "--dtype", "float32", "--enforce-eager")  # fmt: skip


def questions(settings: Any) -> list[str]:
    script = Script(settings, settings, ["title", "caption"], GRADES, ["no used goods"], lambda *_: {})
    rows = [script.messages(script._calls[0], example(number), []) for number in range(6)]
    return ["".join(f"{message['content']}\n" for message in messages) for messages in rows]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that has learnt by heart to give REPLY to every question of the recipe `rules`."""
    folder = tmp_path_factory.mktemp("teacher")
    texts = questions(lab.config("teacher.recipe=rules").teacher)
    made = train_tokenizer([*texts, json.dumps(REPLY)] * 4, 600)
    made.chat_template = TEMPLATE
    made.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)  # as the server reads it
    set_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=2048, tie_word_embeddings=True, initializer_range=0.1, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    target = [*tokenizer.encode(json.dumps(REPLY)), tokenizer.eos_token_id]
    rows = [[*tokenizer.encode(text), *target] for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    labels = torch.tensor([[-100] * (len(row) - len(target)) + target + [-100] * (width - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        loss = model(input_ids=ids, labels=labels).loss
        if loss.item() < 0.002:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.05
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(teacher: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = teacher / "server.log"
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen([*COMMAND, str(teacher), "--port", str(port), *OPTIONS], env=environment, stdout=stream, stderr=stream)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 600
        while True:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            try:
                if urllib3.request("GET", address + "/health", retries=False, timeout=2).status == 200:
                    break
            except urllib3.exceptions.HTTPError:
                time.sleep(1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_the_teacher_is_asked_for_real(server: str, tmp_path: Path) -> None:
    examples = [example(number) for number in range(6)]
    words = {
        "base_url": server + "/v1",
        "model": "policy",
        "recipe": "rules",
        "temperature": 0.0,
        "max_tokens": 128,
        "max_quarantined": 0.9,
    }
    metrics, taught, quarantine = stage(tmp_path, examples, **words)
    assert set(taught) == {"train-1", "train-4"}, "those whose label is the grade it always gives"
    assert set(taught.values()) == {"product rule: it is the wanted kind of thing\nmodifier rule: every modifier holds"}
    assert {row["reason"] for row in quarantine} == {"other grade"}
    assert metrics["tokens_in"] > 100 * metrics["calls"]
    assert metrics["tokens_out"] > 10 * metrics["calls"]
    assert metrics["uncounted"] == 0
    again, same, _ = stage(tmp_path, examples, **words)
    assert same == taught
    assert again["kept"] == again["calls"]


PROMPTS = [[20 + 3 * row + place for place in range(3 + row % 5)] for row in range(12)]


def test_it_serves_the_policy_it_is_given(server: str, teacher: Path, tmp_path: Path) -> None:
    """Last: the server holds other weights afterwards."""
    set_seed(5)
    model = Qwen2ForCausalLM(Qwen2Config.from_pretrained(teacher)).eval()
    settings = lab.config("rollout=vllm_server", f"rollout.base_url={server}")
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    engine = choose_engine(Place(settings, model, tokenizer, ENDS, 64, tmp_path, tmp_path))
    reference = TransformersEngine(model, 0, ENDS)
    assert engine.generate(PROMPTS, Sampling(0.0, 8)) == reference.generate(PROMPTS, Sampling(0.0, 8))
    choices = [[[40], [41, 42], [43]]] * len(PROMPTS)
    found, expected = engine.score(PROMPTS, choices), reference.score(PROMPTS, choices)
    assert torch.tensor(found) == pytest.approx(torch.tensor(expected), abs=1e-3)
    runs = []
    for seed in (1, 2, 1):
        set_seed(seed)
        runs.append(engine.sample([[20, 21]] * 8, Sampling(1.0, 8)))
    (one, values), (two, _), (again, repeated) = runs
    assert one == again
    for first, second in zip(values, repeated, strict=True):
        assert first == pytest.approx(second, abs=1e-4), "which requests share a batch is a matter of timing"
    assert one != two
    assert len(set(map(tuple, one))) > 4

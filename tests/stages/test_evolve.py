"""Stage `evolve` on a tiny policy: its log, its check on unseen pairs, and that later stages read what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lore_lab.stages.context import namespace
from lore_lab.stages.functions import evaluate, validation
from lore_lab.stages.functions import evolve as stage
from lore_lab.stages.functions.common import Pairs
from lore_lab.stages.store import Artifact
from lore_lab.train.common import load_tokenizer
from tests.stages.chain import Chain
from tests.teacher.server import Teacher, completion, serving

WORDS = ["format=label_only", "cot=none", "rl=off", "prompt=long", "prompt.max_tokens=600", "instructions=evolved", "instructions.candidates=3",
         "instructions.pairs=10", "instructions.check_pairs=6", "eval.stages=[]", "model.pretrain.max_steps=0", "eval.decode=first_token",
         "eval.sampled_size=0", "eval.size=2", "eval.subsets=[general]", "model.vocab_size=1024"]  # fmt: skip


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    made = Chain(tmp_path_factory.mktemp("evolve"), *WORDS)
    made.artifacts["sft"] = made.artifact("base")
    made.artifact("evolve")
    return made


def content(chain: Chain) -> dict:
    return json.loads((chain.artifact("evolve").path / "instructions.json").read_text())


def test_every_candidate_is_in_the_log_with_its_score_and_fate(chain: Chain) -> None:
    trials, found = pd.read_parquet(chain.artifact("evolve").path / "trials.parquet"), content(chain)
    metrics = chain.metrics("evolve")
    assert len(trials) == metrics["candidates"] == 3
    assert trials["accepted"].sum() == metrics["accepted"]
    assert trials["lines"].nunique() == 3
    assert (trials["accepted"] == (trials["difference"] > trials["error"])).all()
    accepted = trials[trials["accepted"]]["lines"]
    assert "\n".join(found["evolved"]) == (accepted.iloc[-1] if len(accepted) else "\n".join(found["written"]))
    assert found["lines"] == (found["evolved"] if found["used"] else found["written"])
    assert {f"check/{name}" for name in ("written", "evolved", "difference", "error")} <= set(metrics)
    assert metrics["used"] == (metrics["check/difference"] > metrics["check/error"])


def test_the_written_text_is_the_prompts_own(chain: Chain) -> None:
    pairs, tokenizer = Pairs.read(chain.artifact("data")), load_tokenizer(chain.artifact("base").path)
    (_, example) = pairs.rows[0]
    settings = namespace(chain.nodes["evolve"].config)
    plain = tokenizer.decode(pairs.renderer(settings, tokenizer).ids(example))
    assert plain.startswith("\n".join(content(chain)["written"]) + "\nexample: ")
    assert content(chain)["written"][0].startswith("task: ")
    assert any(line.startswith("rule: ") for line in content(chain)["written"])


def test_later_stages_put_the_chosen_lines_before_the_query(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "instructions"
    folder.mkdir()
    (folder / "instructions.json").write_text(json.dumps({"lines": ["task: something else"]}))
    own = dict(chain.artifacts) | {"evolve": Artifact("evolve", "e", folder, {"metrics": {}})}
    seen: list[str] = []
    original = evaluate.DECODE["first_token"]

    def spy(policy, pairs, sampling, samples, seed):  # type: ignore[no-untyped-def]
        seen.extend(policy.tokenizer.decode(pair.prompt) for pair in pairs)
        return original(policy, pairs, sampling, samples, seed)

    monkeypatch.setitem(evaluate.DECODE, "first_token", spy)
    other = Chain(tmp_path, *WORDS, artifacts=own)
    metrics = other.metrics("eval")
    assert len(seen) == 2
    assert all(text.startswith("task: something else\nexample: ") for text in seen)
    assert metrics["tokens"] == 1
    assert metrics["cot_tokens"] == 0


def test_a_text_that_grows_too_long_is_not_tried(chain: Chain, tmp_path: Path) -> None:
    own = {role: chain.artifacts[role] for role in ("data", "base", "sft")}
    words = [*WORDS, "instructions.operators=[repeat]", "instructions.growth=1.0"]
    other = Chain(tmp_path, *words, artifacts=own)
    assert other.metrics("evolve")["candidates"] == 0
    assert other.metrics("evolve")["used"] == 0


def test_more_validation_pairs_than_there_are_is_an_error_that_says_so(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {role: chain.artifacts[role] for role in ("data", "base", "sft")}
    other = Chain(tmp_path, *WORDS, artifacts=own)
    monkeypatch.setattr(stage, "validation_pairs", lambda context, count, what: validation.validation_pairs(context, 10**6, what))
    with pytest.raises(ValueError, match=r"instructions\.pairs \+ instructions\.check_pairs needs 1000000 validation pairs, world has"):
        other.artifact("evolve")


def test_a_language_model_may_write_lines_and_what_it_took_is_said(chain: Chain, tmp_path: Path) -> None:
    server = Teacher()
    server.plan = lambda teacher, body: completion(json.dumps({"line": f"words of seed {body['seed']}"}))
    own = {role: chain.artifacts[role] for role in ("data", "base", "sft")}
    with serving(server) as url:
        teacher = [f"teacher.base_url={url}", "teacher.model=m", "teacher.revision=1"]
        other = Chain(tmp_path, *WORDS, "instructions.operators=[rewrite]", *teacher, artifacts=own)
        metrics = other.metrics("evolve")
    trials = pd.read_parquet(other.artifact("evolve").path / "trials.parquet")
    assert set(trials["mutation"]) == {"rewrite"}
    assert trials["lines"].str.contains("words of seed").all()
    assert metrics["rewrite/calls"] == len(server.requests) == metrics["candidates"] == 3


def test_whom_it_asks_decides_the_result_and_where_does_not(tmp_path: Path) -> None:
    def key(*words: str) -> str:
        return Chain(tmp_path, *WORDS, *words).nodes["evolve"].key

    asked = ["instructions.operators=[rewrite]", "teacher.model=m", "teacher.revision=1"]
    here, there = "teacher.base_url=http://127.0.0.1:1/v1", "teacher.base_url=http://127.0.0.1:2/v1"
    assert key(*asked, here) == key(*asked, there)
    assert key(*asked, here) != key(*asked, here, "teacher.revision=2")

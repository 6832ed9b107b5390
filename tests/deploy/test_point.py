"""The stages of a point with deploy on: what they leave, and what of it is a metric."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lore_lab.cli import main
from lore_lab.config.errors import ConfigError
from lore_lab.config.schema import Config
from lore_lab.config.validate import validate
from lore_lab.deploy.commands import deployed_point, find_point, show, trained_again
from lore_lab.deploy.ranker import Ranker
from lore_lab.evaluate.probabilities import with_probabilities
from lore_lab.stages.context import namespace
from lore_lab.stages.functions.common import Pairs
from lore_lab.stages.functions.tiers import load_judge
from lore_lab.stages.graph import build
from lore_lab.stages.records import read_json
from lore_lab.stages.store import Store
from tests.deploy.conftest import Deployed

Compose = Callable[..., Config]


def test_off_is_the_graph_of_today_and_on_adds_two_stages(compose: Compose) -> None:
    before, after = build(compose()), build(compose("deploy=tiers"))
    assert set(after) - set(before) == {"tiers", "deploy"}
    assert {role: node.key for role, node in before.items()} == {role: after[role].key for role in before}
    assert list(after)[-1] == "eval"
    assert after["tiers"].inputs["policy"].role == "rl"
    assert "deploy" in {node.stage for node in after.values()}


def test_the_policy_that_is_served_is_the_last_one_under_its_own_instructions(compose: Compose) -> None:
    nodes = build(compose("deploy=tiers", "instructions=evolved", "prompt=medium"))
    assert {name: nodes["tiers"].inputs[name] for name in ("policy", "instructions")} == {
        name: nodes["eval"].inputs[name] for name in ("policy", "instructions")
    }


@pytest.mark.parametrize(
    ("word", "anew"),
    [
        ("deploy=llm", {"deploy"}), ("deploy.hot_from=128", {"deploy"}), ("deploy.load=0.5", {"deploy"}), ("deploy.requests=5000", {"deploy"}),
        ("deploy.judged=5", {"tiers", "deploy"}), ("deploy.distill_pairs=9", {"tiers", "deploy"}), ("deploy.timed=5", {"tiers", "deploy"}),
        ("eval.batch_size=9", {"tiers", "deploy", "eval", "sft_eval"}), ("eval.samples=4", {"eval", "sft_eval"}),
    ],
)  # fmt: skip
def test_thresholds_and_traffic_do_not_ask_the_llm_again(compose: Compose, word: str, anew: set[str]) -> None:
    before, after = build(compose("deploy=tiers")), build(compose("deploy=tiers", word))
    assert {role for role in before if before[role].key != after[role].key} == anew


def test_a_setting_of_deploy_cannot_act_where_it_is_off(compose: Compose) -> None:
    with pytest.raises(ConfigError, match=r"deploy\.load cannot act"):
        validate(compose("deploy.load=0.5"), ["deploy.load"])
    assert validate(compose("deploy.enabled=false"), ["deploy.enabled"]) == []


def test_the_artifacts_hold_what_is_served(deployed: Deployed) -> None:
    table = deployed.answers()
    examples = deployed.examples()
    llm, ranker = (table[[f"{tier}/probability/{grade}" for grade in range(1, 5)]].to_numpy() for tier in ("llm", "ranker"))
    assert len(table) == len(examples) == 39 * 3
    assert llm.sum(axis=1) == pytest.approx(np.ones(len(table)))
    assert np.array_equal(ranker, Ranker.load(deployed.tiers.path).probabilities(examples))
    assert (table["tokens"] > 0).all()
    assert [example.gold for example in examples] == table["gold"].tolist()


def test_the_judge_says_what_the_evaluation_says(deployed: Deployed) -> None:
    """The same probabilities as eval's, where the label comes first."""
    settings = namespace(deployed.tiers.manifest["config"])
    pairs = Pairs.read(deployed.tiers)
    judge, renderer = load_judge(deployed.policy(), settings, pairs)
    examples = deployed.examples()[:9]
    prompts = {example.id: renderer.ids(example) for example in examples}
    rows = pd.DataFrame({"example_id": list(prompts), "mode": "greedy", "predicted": 0, "completion": "1"})
    expected = with_probabilities(rows, prompts, judge.engine, judge.tokenizer, judge.layout, 4, lambda *_: None)
    found = judge.answers(list(prompts.values()))
    assert found.probabilities == pytest.approx(expected[[f"probability/{grade}" for grade in range(1, 5)]].to_numpy(), abs=1e-5)
    assert found.tokens.tolist() == [len(prompt) for prompt in prompts.values()]


def test_a_judge_that_reasons_first_gives_no_answer_where_the_completion_is_none(deployed: Deployed) -> None:
    settings = namespace(deployed.tiers.manifest["config"] | {"format": {"name": "reason_first"}})
    judge, renderer = load_judge(deployed.policy(), settings, Pairs.read(deployed.tiers))
    prompts = [renderer.ids(example) for example in deployed.examples()[:4]]
    found = judge.answers(prompts)  # random weights: no completion parses
    assert np.isnan(found.probabilities).all()
    assert (found.tokens > [len(prompt) for prompt in prompts]).all()


def test_metrics_have_no_clock_in_them_and_come_out_the_same_again(deployed: Deployed, tmp_path: Path) -> None:
    from lore_lab.stages.context import StageContext
    from lore_lab.stages.functions.deploy import run

    node = deployed.point.nodes["deploy"]
    (tmp_path / "other.json").touch()
    again = run(StageContext(node.config, {"tiers": deployed.tiers}, tmp_path, tmp_path, None, lambda *_: None))  # type: ignore[arg-type]
    assert again == deployed.deploy.metrics
    assert not [name for name in again if name.endswith("_ms")]
    assert {"good_rate", "best_good_rate", "acc@4", "acc@2", "macro_f1", "cost", "share/cache", "share/ranker", "share/llm"} <= set(again)
    assert again["share/cache"] + again["share/ranker"] + again["share/llm"] == pytest.approx(1)


def test_every_state_of_the_cache_was_tried(deployed: Deployed) -> None:
    states = read_json(deployed.deploy.path / "report.json")["cache"]  # type: ignore[index]
    assert set(states) == {"damaged", "empty", "stale", "whole"}
    assert states["whole"]["answered"] == 1
    assert states["empty"]["answered"] == states["stale"]["answered"] == 0
    assert 0 < states["damaged"]["answered"] < 1
    assert states["empty"]["cost"] == states["whole"]["cost"]  # the ranker answers instead


def test_counts_are_of_the_queries_the_service_knows(deployed: Deployed) -> None:
    counts = json.loads((deployed.deploy.path / "counts.json").read_text())
    assert set(counts) == {example.query for example in deployed.examples()}
    assert max(counts.values()) > 64 > min(counts.values())


def test_the_tables_and_the_picture_are_made(deployed: Deployed, tmp_path: Path) -> None:
    tables = show(deployed.deploy, tmp_path / "shown")
    assert [table.row_count > 0 for table in tables] == [True, True, True]
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {"frontier.csv", "report.json", "frontier.png"}
    assert (tmp_path / "shown" / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_simulate_takes_the_points_own_words_and_trains_nothing_anew(deployed: Deployed) -> None:
    point = deployed_point(deployed.root, deployed.point.key[:6], ["deploy.load=0.5"])
    assert point.nodes["tiers"].key == deployed.point.nodes["tiers"].key
    assert point.nodes["deploy"].key != deployed.point.nodes["deploy"].key
    store = Store(deployed.root)
    assert trained_again(point, store) == ["base"]  # the fixture made its policy by hand
    assert "sft" in trained_again(deployed_point(deployed.root, None, ["seed=1"]), store)


def test_a_point_that_is_not_there_is_answered_with_those_that_are(
    deployed: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=rf"no finished point zzz \(there: {deployed.point.key}\)"):
        find_point(deployed.root, "zzz")
    assert main(["--root", str(tmp_path), "deploy", "serve"]) == 2
    assert "no finished point with deploy on (there: none)" in capsys.readouterr().err
    assert main(["--root", str(deployed.root), "deploy", "simulate", "seed=1"]) == 2
    assert "sft would be computed anew" in capsys.readouterr().err

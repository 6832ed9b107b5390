"""Rated tables from end to end: ranking beside baselines, and a test query that was trained on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.end_to_end.conftest import ROOT, Lab

CHORUS = ROOT.parent / "shared" / "data" / "chorus"
#: label-only prompts of a table are longer than the world's
TABLE = ["prompt=medium", "prompt.max_tokens=128", "eval.size=1000"]


def pairs(folder: Path, rows: str) -> str:
    (folder / "pairs.csv").write_text("query,title,label,split\n" + rows)
    return f"data.path={folder / 'pairs.csv'}"


def test_a_table_is_ranked_by_label_probabilities_beside_its_baselines(lab: Lab, tmp_path: Path) -> None:
    rows = "".join(
        f"red thing{q},{'red' if item % 2 else 'blue'} thing{q} no {item},{'relevant' if item % 2 else 'irrelevant'},\n"
        for q in range(40)
        for item in range(4)
    )
    run = lab.run("data=table", pairs(tmp_path, rows), *TABLE)
    assert run.returncode == 0, run.stdout + run.stderr
    (point,) = lab.points()
    metrics = point["metrics"]
    for judge in ("eval", "sft_eval", "baseline/majority", "baseline/tfidf", "baseline/bm25"):
        assert 0 <= metrics[f"{judge}/ndcg@10/low"] <= metrics[f"{judge}/ndcg@10"] <= 1
        assert metrics[f"{judge}/ranking_queries"] >= 2
    assert metrics["baseline/bm25/ndcg@10"] == metrics["baseline/bm25/macro_f1"] == 1, "the words decide"
    assert metrics["eval/judged@10"] == 1
    for name in ("(majority)", "(tfidf)", "(bm25)", "ndcg@10"):
        assert name in run.stdout
    (key,) = {stage["key"] for stage in point["stages"] if stage["role"] == "eval"}
    table = pd.read_parquet(lab.root / "store" / "eval" / key / "predictions.parquet")
    greedy = table[table["mode"] == "greedy"]
    assert (greedy["probability/1"] + greedy["probability/2"]).to_numpy() == pytest.approx(1)
    assert greedy["score"].to_numpy() == pytest.approx(greedy["probability/2"].to_numpy())
    assert greedy["scored"].all(), "the label comes first: every pair has its place"
    valid = greedy[greedy["predicted"] >= 0]
    assert (valid[["probability/1", "probability/2"]].to_numpy().argmax(axis=1) == valid["predicted"]).all()


def test_a_test_query_among_the_training_pairs_ends_the_point_before_training(lab: Lab, tmp_path: Path) -> None:
    rows = "".join(f"query {q},thing {q},relevant,a\nquery {q},other {q},irrelevant,a\n" for q in range(7))
    rows += "query 7,thing 7,relevant,a\nQuery  7,other 7,irrelevant,b\n"
    settings = ["data.pairs.split=split", "+data.split.values.a=train", "+data.split.values.b=wild", "data.problems.shared_query=keep"]
    run = lab.run("data=table", pairs(tmp_path, rows), *TABLE, *settings, "data.size=15", "data.split.validation=0")
    assert run.returncode != 0
    (point,) = lab.points()
    assert point["state"] == "failed"
    assert "LeakError: table: 1 queries of wild were trained on" in point["error"]
    assert "train: 'query 7' and wild: 'Query  7'" in point["error"]
    assert "data.problems.shared_query=drop" in point["error"]
    assert not lab.manifests("sft"), "nothing was trained"
    assert "query 7" in run.stdout


@pytest.mark.skipif(not CHORUS.exists(), reason=f"the chorus files are not at {CHORUS}")
def test_chorus_end_to_end(lab: Lab) -> None:
    """The real set with a toy model: what it learns is nothing, what is measured is the whole."""
    run = lab.run("data=chorus", f"data.path={CHORUS}", *TABLE, "features.fields=[title,description]", "data.size=null")
    assert run.returncode == 0, run.stdout + run.stderr
    metrics = lab.points()[0]["metrics"]
    assert metrics["eval/ranking_queries"] == metrics["baseline/bm25/ranking_queries"] == 25
    assert {f"{judge}/{name}" for judge in ("eval", "baseline/tfidf") for name in ("macro_f1", "ndcg@10", "mrr", "recall@10")} <= set(
        metrics
    )
    assert metrics["baseline/bm25/ndcg@10"] == pytest.approx(0.841, abs=0.005), "docs/data.md"
    assert metrics["baseline/tfidf/ndcg@10"] == pytest.approx(0.847, abs=0.002), "docs/data.md"
    assert metrics["baseline/majority/acc@4"] == pytest.approx(0.448, abs=0.001), "docs/data.md"
    assert "bm25" in run.stdout

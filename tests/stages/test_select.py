"""Stages `judge_*` and `select`: who learns from which pairs, and what is left of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lore_lab.config.schema import Config
from lore_lab.data.example import Example
from lore_lab.data.selection import confusable
from lore_lab.stages.functions import judge, select
from lore_lab.stages.functions.common import JUDGEMENTS, Pairs
from lore_lab.stages.functions.data import SOURCE
from lore_lab.stages.store import Artifact
from lore_lab.train.common import load_tokenizer
from tests.stages import lab

Compose = Callable[..., Config]
COUNT = 90
COLUMNS = [f"probability/{label}" for label in range(1, 5)]


def numbered() -> tuple[Example, ...]:
    """Pairs that can be told apart by their prompts."""
    return tuple(dataclasses.replace(example, query=f"{example.query} n{place}") for place, example in enumerate(lab.world(COUNT)))


class Lessons:
    """Instead of training: what each model would have been trained on."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.seen = tokenizer, list[list[tuple[int, str]]]()

    def __call__(self, config: Any, seed: Any, compute: Any, model: Any, tokenizer: Any, prompts: Any, targets: Any, *_: Any) -> dict:
        places = [int(tokenizer.decode(ids).splitlines()[0].rpartition(" n")[2]) for ids in prompts]
        self.seen.append(list(zip(places, [tokenizer.decode(ids[:-1]) for ids in targets], strict=True)))
        return {}


@pytest.fixture
def judged(tmp_path: Path, compose: Compose, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[pd.DataFrame, Lessons, dict]]:
    """`judged("im", "selection.judge.pairs=9")` runs stage judge_im on 90 pairs: (its table, the lessons, its metrics)."""

    def run(name: str, *words: str, examples: Sequence[Example] = numbered(), im: Artifact | None = None) -> Any:
        config = compose(*lab.TINY, "selection=im_ci_ms", *words)
        data = lab.data(tmp_path / "data", tuple(examples))
        policy = lab.policy(tmp_path / "policy", config, tuple(examples))
        own = lab.context(tmp_path / name, config, f"judge_{name}", {"data": data, "policy": policy} | ({"im": im} if im else {}))
        lessons = Lessons(load_tokenizer(policy.path))
        monkeypatch.setattr(judge, "train_sft", lessons)
        metrics = getattr(judge, name)(own)
        return pd.read_parquet(own.output / JUDGEMENTS), lessons, metrics

    return run


def test_no_model_judges_a_query_it_was_trained_on(judged: Any) -> None:
    table, lessons, metrics = judged("im", "selection.judge.folds=3", "selection.judge.pairs=40")
    queries = [example.query_id for example in numbered()]
    assert [len(lesson) for lesson in lessons.seen] == [40, 40, 40]
    for fold, lesson in enumerate(lessons.seen):
        tested = {queries[place] for place in np.flatnonzero(table["fold"] == fold)}
        assert tested
        assert not tested & {queries[place] for place, _ in lesson}
    assert table["example_id"].tolist() == [example.id for example in numbered()]
    assert table[COLUMNS].sum(axis=1).tolist() == pytest.approx([1] * COUNT)
    assert (table[COLUMNS].to_numpy().argmax(axis=1) == table["verdict"]).all()
    labels = np.array([example.label for example in numbered()])
    assert metrics["agrees"] == pytest.approx((labels == table["verdict"]).mean())
    assert metrics["trained_pairs"] == 40


def test_im_and_ci_learn_the_observed_labels_and_ci_the_bands_alike(judged: Any) -> None:
    wrong = tuple(dataclasses.replace(example, label=(example.gold + 1) % 4) for example in numbered())
    _, lessons, _ = judged("ci", "selection.judge.folds=1", "selection.judge.pairs=30", examples=wrong)
    (lesson,) = lessons.seen
    assert all(text == str(wrong[place].label + 1) for place, text in lesson)
    bands = [wrong[place].frequency for place, _ in lesson]
    assert len({bands.count(band) for band in ("head", "torso", "tail")}) == 1


def test_ms_learns_what_im_takes_a_pair_for_beside_its_label(judged: Any, tmp_path: Path) -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), COUNT)
    (tmp_path / "given").mkdir()
    frame = pd.DataFrame(probabilities, columns=COLUMNS)
    frame.to_parquet(tmp_path / "given" / JUDGEMENTS)
    _, lessons, _ = judged("ms", "selection.judge.folds=1", im=lab.artifact(tmp_path / "given", "judge_im"))
    wanted = confusable(probabilities, np.array([example.label for example in numbered()])) + 1
    (lesson,) = lessons.seen
    assert dict(lesson) == {place: str(label) for place, label in enumerate(wanted)}
    assert all(int(text) != numbered()[place].label + 1 for place, text in lesson)


def test_too_many_folds_are_refused(judged: Any) -> None:
    one_query = [dataclasses.replace(example, query_id="q") for example in numbered()]
    with pytest.raises(ValueError, match=r"selection\.judge\.folds=2: the training pairs have too few queries"):
        judged("im", "selection.judge.folds=2", examples=one_query)


def test_a_judge_really_learns(tmp_path: Path, compose: Compose) -> None:
    """One fold, trained for real on pairs whose query names the label."""
    words = ("red", "blue", "green", "black")
    examples = tuple(
        dataclasses.replace(example, query=words[place % 4], item={"title": "shoe"}, label=place % 4)
        for place, example in enumerate(lab.world(40))
    )
    fast = ("folds=1", "pairs=40", "max_steps=80", "per_device_train_batch_size=16", "learning_rate=0.02", "warmup_steps=0")
    config = compose(*lab.TINY, "selection=im", *(f"selection.judge.{word}" for word in fast))
    inputs = {"data": lab.data(tmp_path / "data", examples), "policy": lab.policy(tmp_path / "policy", config, examples)}
    own = lab.context(tmp_path / "im", config, "judge_im", inputs)
    assert judge.im(own)["agrees"] > 0.9
    assert "judge_im/loss" in lab.curves(own)


def table(folder: Path, examples: Sequence[Example], verdicts: Sequence[int]) -> Artifact:
    folder.mkdir()
    pd.DataFrame({"example_id": [example.id for example in examples], "verdict": verdicts}).to_parquet(folder / JUDGEMENTS)
    return lab.artifact(folder)


def selected(folder: Path, config: Config, examples: tuple[Example, ...], **verdicts: Sequence[int]) -> tuple[Path, dict[str, Any]]:
    inputs = {"data": lab.data(folder / "data", examples)}
    inputs |= {name: table(folder / name, examples, own) for name, own in verdicts.items()}
    own = lab.context(folder / "select", config, "select", inputs)
    return own.output, select.run(own)


@pytest.mark.parametrize("sign", ["differs", "agrees"])
def test_what_stays_is_lrefs_formula_in_the_form_of_the_data(tmp_path: Path, compose: Compose, sign: str) -> None:
    examples, rng = lab.world(200), np.random.default_rng(0)
    verdicts = {name: rng.integers(0, 4, 200) for name in ("im", "ci", "ms")}
    output, metrics = selected(tmp_path, compose("selection=im_ci_ms", f"selection.ms={sign}"), examples, **verdicts)
    kept = [
        example
        for place, example in enumerate(examples)
        if verdicts["im"][place] != example.label
        and verdicts["ci"][place] == example.label
        and (verdicts["ms"][place] == example.label) == (sign == "agrees")
    ]
    assert kept
    found = Pairs.read(lab.artifact(output))
    assert found.rows == [("train", example) for example in kept]
    assert (output / SOURCE).read_bytes() == (tmp_path / "data" / SOURCE).read_bytes()
    assert metrics["pairs"] == len(kept)
    assert metrics["share"] == pytest.approx(len(kept) / 200)
    assert [metrics[f"kept/{label + 1}"] for label in range(4)] == [sum(e.label == label for e in kept) for label in range(4)]
    assert {band: metrics[f"kept/{band}"] for band in ("head", "torso", "tail")} == {
        band: sum(e.frequency == band for e in kept) for band in ("head", "torso", "tail")
    }
    gone = [example for example in examples if example not in kept]
    assert metrics["wrong/kept"] == pytest.approx(np.mean([e.label != e.gold for e in kept]))
    assert metrics["wrong/dropped"] == pytest.approx(np.mean([e.label != e.gold for e in gone]))
    assert metrics["passes/ci"] == pytest.approx(np.mean([verdicts["ci"][n] == e.label for n, e in enumerate(examples)]))


def test_random_keeps_a_share_whatever_the_labels_and_another_seed_another_one(tmp_path: Path, compose: Compose) -> None:
    kept = {}
    for seed in (0, 1):
        output, metrics = selected(tmp_path / str(seed), compose("selection=random", f"seed={seed}"), lab.world(200))
        kept[seed] = {example.id for _, example in Pairs.read(lab.artifact(output)).rows}
        assert metrics["pairs"] == len(kept[seed]) == 20
    assert kept[0] != kept[1]


def test_a_share_caps_what_the_filters_leave(tmp_path: Path, compose: Compose) -> None:
    examples = lab.world(200)
    wrong = [(example.label + 1) % 4 for example in examples]
    output, metrics = selected(tmp_path, compose("selection=im", "selection.share=0.25"), examples, im=wrong)
    assert metrics["pairs"] == 50
    assert metrics["passes/all"] == 1
    places = [int(example.id.rpartition("-")[2]) for _, example in Pairs.read(lab.artifact(output)).rows]
    assert places == sorted(places)


def test_nothing_left_is_an_error_that_says_what_to_change(tmp_path: Path, compose: Compose) -> None:
    examples = lab.world(50)
    right = [example.label for example in examples]
    with pytest.raises(ValueError, match=r"leaves none of 50 pairs: nothing to train on\. Take more pairs \(data\.size\)"):
        selected(tmp_path, compose("selection=im"), examples, im=right)


def test_a_table_of_other_pairs_is_refused(tmp_path: Path, compose: Compose) -> None:
    examples = lab.world(50)
    inputs = {"data": lab.data(tmp_path / "data", examples), "im": table(tmp_path / "im", examples[:40], [0] * 40)}
    with pytest.raises(ValueError, match="judge im judged other pairs"):
        select.run(lab.context(tmp_path / "select", compose("selection=im"), "select", inputs))

"""Teacher, student and their targets: what each student is shown, on how many pairs, and that it is several times smaller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lore_lab.stages.functions import distill as stage
from lore_lab.stages.functions.distill import explanations
from lore_lab.stages.functions.teacher import ANSWERS
from lore_lab.stages.store import Artifact
from lore_lab.train.common import load_tokenizer
from tests.stages.chain import Chain

STUDENT = ["distill.student.hidden_size=16", "distill.student.intermediate_size=16", "distill.student.num_hidden_layers=1",
           "distill.student.pretrain.max_steps=0", "distill.student.pretrain.texts=10", "distill.max_steps=2",
           "distill.per_device_train_batch_size=4"]  # fmt: skip


def valid_answers() -> pd.DataFrame:
    rows = [(f"train-{n}", n % 3, f"reason {n}") for n in range(30)] + [("train-30", 3, "alone")]
    return pd.DataFrame(rows, columns=["example_id", "predicted", "reasoning"])


def test_each_target_shows_what_it_says() -> None:
    answers = valid_answers()
    own = dict(zip(answers["example_id"], answers["reasoning"], strict=True))
    assert explanations(answers, "label", 0) == explanations(answers, "probabilities", 0) == dict.fromkeys(own, "")
    assert explanations(answers, "explanation", 0) == explanations(answers, "explanation_first", 0) == own


@pytest.mark.parametrize("seed", range(5))
def test_a_shuffled_explanation_is_another_pairs_of_the_same_label(seed: int) -> None:
    answers = valid_answers()
    found = explanations(answers, "shuffled", seed)
    origin = dict(zip(answers["reasoning"], answers["example_id"], strict=True))
    label = dict(zip(answers["example_id"], answers["predicted"], strict=True))
    assert set(found) == set(label) - {"train-30"}, "who is alone with a label has no partner"
    assert sorted(found.values()) == sorted(set(answers["reasoning"]) - {"alone"}), "each explanation once"
    assert all(origin[text] != one and label[origin[text]] == label[one] for one, text in found.items())
    assert found == explanations(answers.sample(frac=1, random_state=1), "shuffled", seed), "the order of the rows decides nothing"
    assert found != explanations(answers, "shuffled", seed + 1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """data, base and a teacher's answers written by hand: 64 pairs, every eighth answer invalid."""
    chain = Chain(
        tmp_path_factory.mktemp("shared"), "format=answer_first", "rl=off", "model.pretrain.max_steps=0", "distill=label", *STUDENT
    )
    made = {role: chain.artifact(role) for role in ("data", "base", "student")}
    rows = pd.read_parquet(made["data"].path / "examples.parquet")
    grades = [-1 if n % 8 == 7 else n % 4 for n in range(len(rows))]
    answers = pd.DataFrame(
        {"example_id": rows["id"], "predicted": grades, "reasoning": [f"needs: colour c{n % 9}" for n in range(len(rows))]}
    )
    answers["reasoning"] = answers["reasoning"].where(answers["predicted"] >= 0, "")
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), len(rows))
    answers = answers.assign(**{f"probability/{k + 1}": probabilities[:, k] for k in range(4)})
    folder = tmp_path_factory.mktemp("teacher")
    answers.to_parquet(folder / ANSWERS)
    return made | {"teacher": Artifact("teacher", "t", folder, {"metrics": {}})}


TARGETS = {
    "label": ("label_only", "{label}"),
    "probabilities": ("label_only", "{label}"),
    "explanation": ("answer_first", "{label}\n{reasoning}"),
    "shuffled": ("answer_first", "{label}\n{reasoning}"),
    "explanation_first": ("reason_first", "{reasoning}\nanswer: {label}"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_student_is_trained_on_its_targets(
    tmp_path: Path, shared: dict[str, Artifact], target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    train = stage.train_sft

    def spy(*arguments: Any, **more: Any) -> dict[str, float]:
        given.update(prompts=arguments[5], targets=arguments[6], **more)
        return train(*arguments, **more)

    monkeypatch.setattr(stage, "train_sft", spy)
    chain = Chain(tmp_path, "format=answer_first", "rl=off", "model.pretrain.max_steps=0", f"distill={target}", *STUDENT, artifacts=shared)
    metrics = chain.metrics("distill")
    tokenizer = load_tokenizer(shared["base"].path)
    answers = pd.read_parquet(shared["teacher"].path / ANSWERS)
    valid = answers[answers["predicted"] >= 0].set_index("example_id")
    shown = explanations(valid.reset_index(), target, 0)
    layout, text = TARGETS[target]
    assert chain.nodes["distill"].config["format"]["name"] == chain.nodes["eval"].config["format"]["name"] == layout
    decoded = [tokenizer.decode(ids[:-1]) for ids in given["targets"]]
    grades = valid["predicted"].to_dict()
    if target != "shuffled":  # whose draw has the run's seed
        assert decoded == [text.format(label=grades[one] + 1, reasoning=shown[one]) for one in valid.index]
    assert [first.strip()[-1] if layout == "reason_first" else first[0] for first in decoded] == [
        str(grades[one] + 1) for one in valid.index
    ]
    assert (metrics["teacher_invalid"], metrics["unpaired"]) == (8 / 64, 0)
    assert len(given["prompts"]) == metrics["examples"] == 56
    columns = [f"probability/{k}" for k in range(1, 5)]
    assert ("columns" in given) == (target == "probabilities")
    if target == "probabilities":
        np.testing.assert_allclose(given["columns"]["teacher"], valid[columns].to_numpy())


def test_the_student_is_smaller_and_reads_the_teachers_tokens(shared: dict[str, Artifact]) -> None:
    sizes = {role: shared[role].metrics["parameters"] for role in ("base", "student")}
    assert sizes["student"] < sizes["base"] / 2
    assert load_tokenizer(shared["student"].path).get_vocab() == load_tokenizer(shared["base"].path).get_vocab()
    config = json.loads((shared["student"].path / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"]) == (16, 1)


def test_the_shipped_student_is_several_times_smaller(compose: Any) -> None:
    def parameters(sizes: Any, vocabulary: int) -> int:
        head = sizes.hidden_size // sizes.num_attention_heads
        attention = 2 * sizes.hidden_size**2 + 2 * sizes.hidden_size * head * sizes.num_key_value_heads
        return vocabulary * sizes.hidden_size + sizes.num_hidden_layers * (attention + 3 * sizes.hidden_size * sizes.intermediate_size)

    config = compose("distill=default")
    assert parameters(config.model, config.model.vocab_size) > 4 * parameters(config.distill.student, config.model.vocab_size)


def test_a_teacher_without_a_valid_answer_is_refused(tmp_path: Path, shared: dict[str, Artifact]) -> None:
    own = {"data": shared["data"], "base": shared["base"], "sft": shared["base"]}  # random weights
    chain = Chain(tmp_path, "format=answer_first", "rl=off", "distill=label", "eval.max_completion_length=4", *STUDENT, artifacts=own)
    with pytest.raises(ValueError, match="none of the teacher's 64 answers is valid"):
        chain.artifact("teacher")

"""Metrics against scikit-learn, brute force and numbers worked out by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from lore_lab.evaluate.metrics import INVALID, brier, calibration_error, confusion, from_confusion, interval, pass_at_k, summarise


@st.composite
def judgements(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, int]:
    """(gold, predicted with invalid ones, grades, first relevant grade)."""
    grades = draw(st.integers(2, 5))
    pairs = draw(st.lists(st.tuples(st.integers(0, grades - 1), st.integers(INVALID, grades - 1)), min_size=1, max_size=60))
    gold, predicted = np.array(pairs).T
    return gold, predicted, grades, draw(st.integers(1, grades - 1))


@settings(deadline=None)
@given(judgements())
def test_agrees_with_scikit_learn(case: tuple[np.ndarray, np.ndarray, int, int]) -> None:
    gold, predicted, grades, relevant_from = case
    table = confusion(gold, predicted, grades)
    labels = [*range(grades), INVALID]
    assert (table == confusion_matrix(gold, predicted, labels=labels)[:grades]).all()
    found = from_confusion(table, relevant_from)
    present = sorted(set(gold))
    precision, recall, f1, _ = precision_recall_fscore_support(gold, predicted, labels=range(grades), zero_division=0)
    for grade in range(grades):
        assert found[f"precision/{grade + 1}"] == pytest.approx(precision[grade])
        assert found[f"recall/{grade + 1}"] == pytest.approx(recall[grade])
        assert found[f"f1/{grade + 1}"] == pytest.approx(f1[grade])
    assert found["acc@4"] == pytest.approx(accuracy_score(gold, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(gold, predicted, labels=present, average="macro", zero_division=0))
    assert found["weighted_f1"] == pytest.approx(f1_score(gold, predicted, labels=present, average="weighted", zero_division=0))


@given(judgements())
def test_binary_accuracy_and_errors_by_their_definitions(case: tuple[np.ndarray, np.ndarray, int, int]) -> None:
    gold, predicted, grades, relevant_from = case
    found = from_confusion(confusion(gold, predicted, grades), relevant_from)
    valid = predicted != INVALID
    assert found["acc@2"] == pytest.approx(np.mean(valid & ((gold >= relevant_from) == (predicted >= relevant_from))))
    assert found["invalid_rate"] == pytest.approx(np.mean(~valid))
    wrong = valid & (gold != predicted)
    assert found["optimistic_error_share"] == pytest.approx(np.mean(predicted[wrong] > gold[wrong]) if wrong.any() else 0)


def test_an_invalid_answer_is_never_right_and_never_an_optimistic_error() -> None:
    found = from_confusion(confusion(np.array([0, 3]), np.array([INVALID, INVALID]), 4), relevant_from=2)
    assert found["acc@4"] == found["acc@2"] == found["macro_f1"] == found["optimistic_error_share"] == 0
    assert found["invalid_rate"] == 1


def test_a_worked_example() -> None:
    gold = np.array([0, 0, 1, 2, 3, 3])
    predicted = np.array([0, 1, 1, 3, 3, 1])
    found = from_confusion(confusion(gold, predicted, 4), relevant_from=2)
    assert found["acc@4"] == pytest.approx(3 / 6)
    assert found["acc@2"] == pytest.approx(5 / 6)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0 + 1 / 2) / 4)
    assert found["optimistic_error_share"] == pytest.approx(2 / 3)


def test_many_tables_at_once_give_what_each_gives_alone() -> None:
    tables = np.random.default_rng(0).integers(0, 9, (3, 4, 5))
    together = from_confusion(tables, 2)
    for number, table in enumerate(tables):
        for name, value in from_confusion(table, 2).items():
            assert together[name][number] == pytest.approx(float(value))


@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(samples: int) -> None:
    for k in range(1, samples + 1):
        found = pass_at_k(np.arange(samples + 1), samples, k)
        for right in range(samples + 1):
            draws = list(combinations([True] * right + [False] * (samples - right), k))
            assert found[right] == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize("k", [0, 9])
def test_pass_at_k_needs_k_samples(k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} needs"):
        pass_at_k(np.array([1]), 8, k)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth = 0.7
    covered = 0
    for seed in range(200):
        gold = rng.integers(0, 4, 150)
        predicted = np.where(rng.random(150) < truth, gold, (gold + 1) % 4)
        low, high = interval(confusion(gold, predicted, 4), 2, resamples=200, seed=seed)["acc@4"]
        covered += low <= truth <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_interval_is_a_function_of_the_seed() -> None:
    table = confusion(np.array([0, 1, 2, 3] * 10), np.array([0, 1, 2, 2, 3, 1, 2, 3] * 5), 4)
    assert interval(table, 2, 200, seed=3) == interval(table, 2, 200, seed=3)
    assert interval(table, 2, 200, seed=3) != interval(table, 2, 200, seed=4)
    low, high = interval(table, 2, 200, seed=3)["macro_f1"]
    assert low < from_confusion(table, 2)["macro_f1"] < high


def row(example: str, subset: str, frequency: str, gold: int, greedy: int, samples: list[int]) -> list[dict[str, object]]:
    shared = {"example_id": example, "subset": subset, "frequency": frequency, "gold": gold}
    answers = [("greedy", 0, greedy), *(("sampled", number, predicted) for number, predicted in enumerate(samples))]
    return [
        shared | {"mode": mode, "sample": number, "predicted": predicted, "tokens": 10 + gold, "reasoning_tokens": gold}
        for mode, number, predicted in answers
    ]


def predictions() -> pd.DataFrame:
    rows = row("general-0", "general", "head", 0, 0, [0, 0, 1, INVALID]) + row("general-1", "general", "tail", 3, 1, [])
    rows += row("hard-0", "hard", "tail", 2, 2, [1, 1, 1, 1]) + row("hard-1", "hard", "tail", 1, INVALID, [])
    return pd.DataFrame(rows)


def test_a_summary_holds_every_metric_by_subset_and_by_frequency() -> None:
    found = summarise(predictions(), grades=4, relevant_from=2, resamples=100, seed=0)
    everywhere = {"acc@4", "acc@2", "macro_f1", "invalid_rate", "optimistic_error_share", "pairs", "tokens", "cot_tokens"}
    everywhere |= {f"{name}/{grade}" for name in ("precision", "recall", "f1") for grade in range(1, 5)}
    groups = ("", "general/", "hard/", "head/", "tail/")
    assert {f"{group}{name}" for group in groups for name in everywhere} <= set(found)
    assert {f"{group}pass@{k}" for group in groups for k in (1, 4)} <= set(found)
    assert {f"{name}/{end}" for name in ("acc@4", "acc@2", "macro_f1") for end in ("low", "high")} <= set(found)
    assert not any("torso" in name for name in found)
    assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())


def test_a_summary_takes_accuracy_from_greedy_and_pass_at_k_from_sampled_answers() -> None:
    found = summarise(predictions(), grades=4, relevant_from=2, resamples=100, seed=0)
    assert (found["pairs"], found["general/pairs"], found["tail/pairs"]) == (4, 2, 3)
    assert (found["acc@4"], found["hard/acc@4"], found["head/acc@4"]) == (0.5, 0.5, 1)
    assert (found["pass@1"], found["pass@4"]) == (0.25, 0.5)
    assert (found["general/pass@1"], found["general/pass@4"], found["hard/pass@4"]) == (0.5, 1, 0)
    assert (found["sampled_invalid_rate"], found["distinct_labels"]) == (0.125, 1.5)
    assert (found["tokens"], found["cot_tokens"]) == (11.5, 1.5)
    assert found["acc@4/low"] <= found["acc@4"] <= found["acc@4/high"]


def test_without_samples_a_summary_has_no_pass_at_k() -> None:
    table = predictions()
    found = summarise(table[table["mode"] == "greedy"], grades=4, relevant_from=2, resamples=100, seed=0)
    assert not any("pass@" in name for name in found)


def test_calibration_by_hand() -> None:
    gold = np.array([0, 1, 1, 0])
    probabilities = np.array([[0.92, 0.08], [0.98, 0.02], [0.45, 0.55], [0.0, 1.0]])
    assert brier(gold, probabilities).tolist() == pytest.approx([2 * 0.08**2, 2 * 0.98**2, 2 * 0.45**2, 2.0])
    # the bin from 0.9 holds three answers, one of them right; the bin from 0.5 one, right
    assert calibration_error(gold, probabilities) == pytest.approx((abs(1 - 0.92 - 0.98 - 1.0) + abs(1 - 0.55)) / 4)


def test_who_says_how_often_he_is_right_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    sure = rng.dirichlet(np.ones(4), 20_000)
    gold = np.array([rng.choice(4, p=row) for row in sure])
    assert calibration_error(gold, sure) < 0.02
    wrong = np.where(rng.random(20_000) < 0.5, gold, (gold + 1) % 4)
    assert calibration_error(wrong, sure) > 0.15


def test_a_summary_ranks_and_calibrates_where_it_can() -> None:
    table = predictions()
    assert not {"ece", "brier", "ranking_queries"} & set(summarise(table, 4, 2, 100, 0))
    greedy = table["mode"] == "greedy"
    table = table.assign(query_id="q", item_id=table["example_id"], score=table["gold"].astype(float), scored=greedy)
    for grade in range(4):
        table[f"probability/{grade + 1}"] = (table["gold"] == grade).astype(float)
    found = summarise(table, 4, 2, 100, 0)
    assert (found["ece"], found["brier"], found["unscored_rate"], found["ndcg@10"], found["ranking_queries"]) == (0, 0, 0, 1, 2)
    assert found["general/mrr"] == found["hard/mrr"] == 1
    assert found["head/ranking_queries"] == 0, "one item has no rank"
    assert "head/ndcg@10" not in found


def test_balanced_is_the_subsets_that_hold_every_grade_equally_often() -> None:
    def pairs(subset: str, gold: list[int]) -> list[dict[str, object]]:
        return [answer for place, grade in enumerate(gold) for answer in row(f"{subset}-{place}", subset, "head", grade, 0, [])]

    even, wild = pairs("general", [0, 1, 2, 3]) + pairs("rule", [3, 2, 1, 0]), pairs("wild", [0, 0, 0, 3])
    found = summarise(pd.DataFrame(even + wild), 4, 2, 100, 0)
    assert (found["balanced/pairs"], found["balanced/acc@4"], found["wild/acc@4"]) == (8, 0.25, 0.75)
    for table in (even, wild):  # nothing beside them, or nothing balanced: the name would say nothing new, or nothing true
        assert not any(name.startswith("balanced/") for name in summarise(pd.DataFrame(table), 4, 2, 100, 0))


def beam_rows(*beams: tuple[int, list[int]]) -> pd.DataFrame:
    """(gold, labels of the beam) of pairs, each answered greedily by gold."""
    rows = [(f"e{n}", "greedy", 0, gold, gold) for n, (gold, _) in enumerate(beams)]
    rows += [(f"e{n}", "beam", place, gold, label) for n, (gold, labels) in enumerate(beams) for place, label in enumerate(labels)]
    table = pd.DataFrame(rows, columns=["example_id", "mode", "sample", "gold", "predicted"])
    return table.assign(subset="general", frequency="head").sample(frac=1, random_state=0)


def test_where_the_right_label_stands_in_the_beam() -> None:
    found = summarise(
        beam_rows(
            (1, [1, 2, 3, 0]),  # right at once
            (1, [2, 2, INVALID, 1]),  # too high; the second different label, in the fourth completion
            (0, [3, 2, 0, 1]),  # too high; third
            (1, [3, 3, 3, 3]),  # too high; nowhere
            (3, [INVALID, 0, 3, 1]),  # too low; second
            (2, [INVALID] * 4),  # nothing valid
        ),
        4,
        2,
        100,
        0,
    )
    assert found["label_in_beam"] == pytest.approx(4 / 6)
    assert found["label_rank"] == pytest.approx((1 + 2 + 3 + 2) / 4)
    assert found["optimistic_second_beam"] == pytest.approx(1 / 3)
    assert found["general/optimistic_second_beam"] == found["head/optimistic_second_beam"] == found["optimistic_second_beam"]
    assert found["acc@4"] == 1, "beams are no answers of their own"
    assert found["label_rank/low"] <= found["label_rank"] <= found["label_rank/high"]


def test_without_an_optimistic_error_nothing_is_said_of_the_second_beam() -> None:
    found = summarise(beam_rows((3, [3, 2]), (2, [1, 0])), 4, 2, 100, 0)
    assert found["label_in_beam"] == 0.5
    assert not any("optimistic_second_beam" in name for name in found)
    assert not any("beam" in name for name in summarise(beam_rows((3, [])), 4, 2, 100, 0))

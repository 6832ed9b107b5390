"""The verdict rule on cases with known answers, its properties, and its error rates by simulation."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from fake_tree import write_sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_lab.analysis import load_runs, verdict, verdict_table
from lore_lab.analysis.verdicts import Direction, Verdict, judge, overall

SHAPE = np.array([-2, -1, 0, 1, 2]) / np.sqrt(2.5)  # mean 0, sd 1; its 95 % half width over 5 is 1.2417


def one(values: object, direction: Direction = "up", smallest: float = 1.0) -> Verdict:
    return judge({"a": values}, smallest_effect=smallest, direction=direction)[0]  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("mean", "sd", "direction", "outcome"),
    [
        (3.0, 1.0, "up", "supported"),  # [1.76, 4.24]
        (3.0, 1.0, "down", "contradicted"),
        (-3.0, 1.0, "up", "contradicted"),
        (-3.0, 1.0, "down", "supported"),
        (1.2, 1.0, "up", "inconclusive"),  # [-0.04, 2.44]
        (1.3, 1.0, "up", "supported"),  # [0.06, 2.54]: above 0, not inside the smallest effect
        (0.0, 1.0, "up", "inconclusive"),  # [-1.24, 1.24]: wider than the smallest effect
        (0.0, 0.5, "up", "no effect"),  # [-0.62, 0.62]
        (0.0, 0.5, "flat", "supported"),
        (0.3, 0.1, "up", "no effect"),  # [0.18, 0.42]: real, and too small to care
        (3.0, 1.0, "flat", "contradicted"),
        (1.5, 1.0, "flat", "inconclusive"),  # [0.26, 2.74]: above 0, not clear of the smallest effect
    ],
)
def test_outcomes(mean: float, sd: float, direction: Direction, outcome: str) -> None:
    assert one(mean + sd * SHAPE, direction).outcome == outcome


def test_the_interval_is_the_hand_computed_one() -> None:
    found = one(3 + SHAPE)
    assert (found.effect, found.low, found.high) == pytest.approx((3, 3 - 1.24166, 3 + 1.24166), abs=1e-4)
    assert (found.adjusted_low, found.adjusted_high) == pytest.approx((found.low, found.high))


def test_holm_takes_back_what_one_arm_alone_would_show() -> None:
    alone = one(1.3 + SHAPE)
    among = judge({"a": 1.3 + SHAPE, "b": SHAPE, "c": -SHAPE}, smallest_effect=1)
    assert alone.outcome == "supported"
    assert among[0].outcome == "inconclusive"
    assert "once corrected for the number of arms" in among[0].reason  # else its plain interval, which leaves out 0, would seem to deny it
    assert "corrected" not in among[1].reason
    assert among[0].p_holm == pytest.approx(3 * alone.p_holm)
    assert among[0].low == alone.low
    assert among[0].adjusted_low < alone.low


def test_being_small_is_corrected_for_the_number_of_arms_too() -> None:
    alone = one(0.66 * SHAPE)  # half width 0.82
    among = judge({"a": 0.66 * SHAPE, "b": 2 + SHAPE, "c": -2 + SHAPE}, smallest_effect=1)
    assert alone.outcome == "no effect"
    assert [v.outcome for v in among] == ["inconclusive", "supported", "contradicted"]


def test_fewer_than_five_seeds_are_never_enough() -> None:
    found = one([5.0, 5.1, 4.9, 5.0])
    assert found.outcome == "inconclusive"
    assert "at least 5" in found.reason
    assert one([5.0]).outcome == "inconclusive"
    assert one([0.0, 0.1, 0, 0]).outcome == "inconclusive"


def test_without_spread_a_difference_is_one_run_and_none_is_none() -> None:
    assert one([0.61 - 0.58 + 2, 0.71 - 0.68 + 2, 2.03, 2.03, 2.03]).outcome == "inconclusive"
    assert one([0.0] * 5).outcome == "no effect"
    assert one([0.0] * 5, "flat").outcome == "supported"


def test_an_arm_that_did_not_act_is_inconclusive_whatever_its_numbers() -> None:
    found = judge({"a": 3 + SHAPE, "b": 0.1 * SHAPE}, smallest_effect=1, inert={"a": "clip range never reached", "b": "same"})
    assert [v.outcome for v in found] == ["inconclusive"] * 2
    assert "never reached" in found[0].reason
    assert found[0].seeds_to_settle is None


def test_an_arm_that_cannot_be_read_is_inconclusive_however_far_it_falls(tree: Path) -> None:
    runs = load_runs(tree, "s1")
    arms = ("rl.clip_high=0.2", "rl.clip_high=0.28")
    for silent in arms:
        cut = runs.assign(**{"eval/invalid_rate": (runs["arm"] == silent).astype(float)})
        found = verdict(cut, arms[0], smallest_effect=0.01, direction="down", arms=arms[1:])[0]
        assert found.outcome == "inconclusive"
        assert f"100 % of the completions of {silent} are invalid" in found.reason
        about_it = verdict(
            cut.assign(**{"eval/macro_f1": cut["eval/invalid_rate"] + cut["seed"] / 100}),
            arms[0],
            "eval/invalid_rate",
            smallest_effect=0.01,
            arms=arms[1:],
        )
        assert "of the completions" not in about_it[0].reason


def test_an_inconclusive_arm_says_how_many_seeds_would_settle_it() -> None:
    found = one(SHAPE)
    assert found.seeds_to_settle is not None
    assert 6 <= found.seeds_to_settle <= 30
    assert 0 < found.power < 0.8
    assert one(3 + SHAPE).seeds_to_settle is None


@pytest.mark.parametrize(("smallest", "direction"), [(0, "up"), (-1, "up"), (float("nan"), "up"), (1, "sideways")])
def test_wrong_settings_are_refused(smallest: float, direction: Direction) -> None:
    with pytest.raises(ValueError):
        judge({"a": SHAPE}, smallest_effect=smallest, direction=direction)


def test_nothing_to_judge_is_nothing() -> None:
    assert judge({}, smallest_effect=1) == []


arms = st.lists(st.lists(st.floats(-3, 3), min_size=5, max_size=8), min_size=1, max_size=4)


@given(arms)
@settings(max_examples=60, deadline=None)
def test_turning_the_sign_turns_the_verdict(values: list[list[float]]) -> None:
    up = judge({str(i): v for i, v in enumerate(values)}, smallest_effect=0.5, direction="up")
    down = judge({str(i): [-x for x in v] for i, v in enumerate(values)}, smallest_effect=0.5, direction="down")
    assert [v.outcome for v in up] == [v.outcome for v in down]


@given(arms)
@settings(max_examples=60, deadline=None)
def test_more_arms_never_make_one_more_certain(values: list[list[float]]) -> None:
    alone, among = one(values[0], smallest=0.5), judge({str(i): v for i, v in enumerate(values)}, smallest_effect=0.5)[0]
    assert among.p_holm >= alone.p_holm - 1e-12
    assert among.adjusted_low <= alone.low + 1e-12
    # "no effect" may lose its "smaller than the smallest effect" and keep its sign; nothing else may turn into another answer.
    assert among.outcome in (alone.outcome, "inconclusive") or alone.outcome == "no effect"


def test_from_runs_to_json(tree: Path) -> None:
    runs = load_runs(tree, "s1")
    found = verdict(runs, "rl.clip_high=0.2", smallest_effect=0.01)
    assert [v.outcome for v in found] == ["supported"]
    assert found[0].seeds == (0, 1, 2, 3, 4)
    assert found[0].improvement is not None
    assert found[0].improvement > 0.9
    assert Verdict.from_dict(json.loads(json.dumps(found[0].as_dict()))) == found[0]
    assert verdict_table(found).loc[0, "seeds"] == 5
    assert verdict(runs, "rl.clip_high=0.28", smallest_effect=0.01, direction="down")[0].outcome == "supported"


def test_identical_weights_make_a_verdict_inconclusive(tmp_path: Path) -> None:
    axes = {"rl.clip_high": ["0.2", "0.28", "0.3"], "seed": list("01234")}
    write_sweep(tmp_path, axes, model_bytes={"0.2": "same", "0.28": "same"})
    found = verdict(load_runs(tmp_path), "rl.clip_high=0.2", smallest_effect=0.01)
    assert "did not act" in found[0].reason
    assert found[1].outcome == "supported"
    other = verdict(load_runs(tmp_path), "rl.clip_high=0.3", smallest_effect=0.01, direction="down")
    assert [v.outcome for v in other] == ["supported"] * 2  # the two arms are alike, but not like this baseline


def test_error_rates_by_simulation() -> None:
    rates = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "verdict_rates.py"))["rates"]
    null = rates(arms=3, seeds=5, effect=0.0, sd=0.01, smallest_effect=0.01, runs=600, seed=1)
    assert null["any supported"] <= 0.025 + 3 * (0.025 * 0.975 / 600) ** 0.5
    assert rates(arms=1, seeds=5, effect=0.03, sd=0.01, smallest_effect=0.01, runs=300, seed=2)["supported"] > 0.9


@pytest.mark.parametrize(
    ("mean", "sd", "outcome"),
    [
        (-3.0, 1.0, "supported"),  # far below is not up
        (0.0, 0.5, "supported"),  # [-0.62, 0.62]
        (3.0, 1.0, "contradicted"),
        (0.9, 0.5, "inconclusive"),  # [0.28, 1.52]
        (-0.5, 1.0, "supported"),  # [-1.74, 0.74]: open below, inside above
        (0.0, 1.0, "inconclusive"),
    ],
)
def test_a_claim_that_nothing_rises_asks_one_side_only(mean: float, sd: float, outcome: str) -> None:
    assert one(mean + sd * SHAPE, "not up").outcome == outcome
    assert one(-mean - sd * SHAPE, "not down").outcome == outcome


def test_a_real_rise_is_rarely_called_none() -> None:
    rng = np.random.default_rng(3)
    found = [one(rng.normal(1.0, 1.0, 5), "not up").outcome for _ in range(600)]  # at the smallest effect itself
    assert found.count("supported") / 600 <= 0.025 + 3 * (0.025 * 0.975 / 600) ** 0.5
    found = [one(rng.normal(0.0, 0.3, 5), "not up").outcome for _ in range(200)]
    assert found.count("supported") / 200 > 0.9


def test_a_claim_on_several_arms_is_as_good_as_its_worst() -> None:
    strong, small, wide, wrong = 3 + SHAPE / 4, SHAPE / 8, 3 * SHAPE, -3 + SHAPE / 4

    def outcome(**arms: object) -> str:
        return overall(judge(arms, smallest_effect=1))[0]  # type: ignore[arg-type]

    assert outcome(a=strong, b=strong) == "supported"
    assert outcome(a=strong, b=small) == "no effect"
    assert outcome(a=strong, b=small, c=wide) == "inconclusive"
    assert outcome(a=strong, b=small, c=wide, d=wrong) == "contradicted"
    assert overall(judge({"a": strong, "b": wide}, smallest_effect=1))[1].startswith("b: ")
    with pytest.raises(ValueError, match="no verdict"):
        overall([])


def test_without_a_baseline_the_values_themselves_are_judged(tree: Path) -> None:
    runs = load_runs(tree, "s1")
    runs["gap"] = runs["eval/pass@8"] - runs["eval/pass@1"] + runs["seed"].astype(float) / 1000
    found = verdict(runs, None, "gap", smallest_effect=0.1)
    assert [v.arm for v in found] == list(runs["arm"].unique())
    assert [v.effect for v in found] == pytest.approx([0.252, 0.252])
    assert {v.outcome for v in found} == {"supported"}
    assert found[0].improvement is None

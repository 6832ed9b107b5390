"""What a sweep of RL arms comes to, on invented runs whose numbers are computed here by other means."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fake_tree import long_table, write_sweep
from scipy import stats

from lore_lab.analysis.curves import law_points
from lore_lab.analysis.figures import plot_curves
from lore_lab.analysis.laboratory import arm_facts, facts_text, option_names, realised_orders, write_laboratory
from lore_lab.analysis.load import load_curves, load_runs
from lore_lab.analysis.palette import TITLES
from lore_lab.analysis.panels import plot_entropy, plot_law, plot_orders
from lore_lab.analysis.realised import baseline_arm, effects, inert_arms, realised_effect
from lore_lab.config.arms import ENTROPY, active
from lore_lab.config.schema import Config
from lore_lab.stages.graph import plain

Compose = Callable[..., Config]
STEPS, SEEDS = 18, ("0", "1", "2")


def rl_stage(root: Path, point: str) -> Path:
    record = json.loads((root / "points" / point / "point.json").read_text())
    key = next(stage["key"] for stage in record["stages"] if stage["stage"] == "rl")
    return root / "store" / "rl" / key


def add_curves(root: Path, point: str, **curves: list[float]) -> None:
    """Further curves of a point's RL stage; `lore__x` is rl/lore/x."""
    path = rl_stage(root, point) / "curves.parquet"
    more = [long_table({f"rl/{name.replace('__', '/')}": np.array(values)}) for name, values in curves.items()]
    names = [f"rl/{name.replace('__', '/')}" for name in curves]
    table = pq.read_table(path)
    table = table.filter(pc.invert(pc.is_in(table["name"], value_set=pa.array(names))))
    pq.write_table(pa.concat_tables([table, *more]), path)


def write_order(root: Path, point: str, examples: list[str], difficulty: list[float]) -> None:
    (rl_stage(root, point) / "order.json").write_text(json.dumps({"examples": examples, "difficulty": difficulty}))


def sweep_of(root: Path, compose: Compose, group: str, *options: str, seeds: tuple[str, ...] = SEEDS) -> dict[tuple[str, str], str]:
    """(option, seed) -> point of a finished sweep over options of a group, with the configs such points have."""
    points = write_sweep(root, {group: list(options), "seed": list(seeds)}, steps=STEPS)
    found = dict(zip([(option, seed) for option in options for seed in seeds], points, strict=True))
    for (option, _), point in found.items():
        path = root / "points" / point / "point.json"
        config = plain(compose(f"{group}={option}"))
        path.write_text(json.dumps(json.loads(path.read_text()) | {"config": config}))
    return found


def test_every_arm_but_the_baseline_has_a_sign(compose: Compose) -> None:
    assert [arm.name for arm in ENTROPY if not arm.signs] == ["none"]
    for arm in ENTROPY:
        found = active(compose(f"rl/entropy={arm.name}"))
        assert set(arm.signs) <= {sign for other in found for sign in other.signs}, arm.name
    assert not [sign for arm in active(compose()) for sign in arm.signs]


def test_options_of_an_older_record_are_those_it_names() -> None:
    record = SimpleNamespace(rl=SimpleNamespace(kl_cov=SimpleNamespace(enabled=True)))
    found: list[str] = [arm.name for arm in active(record)]  # type: ignore[arg-type]
    assert set(found) == {"kl_cov", "kl_cov_verl"}


FLAT, UP, DOWN = [0.0] * 4, [0.0, 0.0, 0.5, 0.0], [3.0, 2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("option", "curve", "base", "acting", "idle"),
    [
        ("kl_sft", "kl", None, UP, FLAT),
        ("clip_cov_verl", "lore__clip_cov__tokens", None, UP, FLAT),
        ("entropy_adaptive", "entropy_coef", None, UP, DOWN),
        ("temperature", "entropy", [1.0, 2.0], [1.1, 2.0], [1.0, 2.1]),
        ("one_update", "num_tokens", [512.0, 1024.0], [128.0, 256.0], [512.0, 640.0]),
    ],
)
def test_an_arm_is_marked_unless_its_sign_shows(
    tmp_path: Path, compose: Compose, option: str, curve: str, base: list[float] | None, acting: list[float], idle: list[float]
) -> None:
    points = sweep_of(tmp_path, compose, "rl/entropy", "none", option, seeds=("0", "1"))
    for seed, values in (("0", acting), ("1", idle)):
        add_curves(tmp_path, points[option, seed], **{curve: values})
        if base:
            add_curves(tmp_path, points["none", seed], **{curve: base})
    runs = load_runs(tmp_path, "s1")
    assert {(e.point, e.acted) for e in effects(runs)} == {(points[option, "0"], True), (points[option, "1"], False)}
    notes = realised_effect(runs)
    assert set(notes) == {points[option, "1"]}
    assert curve.removeprefix("lore__").replace("__", "/") in notes[points[option, "1"]][0]
    assert not inert_arms(runs, "rl/entropy=none")  # it may differ by what else it sets
    facts = arm_facts(runs).set_index("arm")
    assert facts.loc["none", "why"] == "baseline"
    assert facts.loc[option, "acted"] is False
    assert "(1 of 2 seeds)" in facts.loc[option, "why"]


def test_a_falling_weight_is_the_sign_of_a_decaying_one_and_any_move_of_an_adaptive_one(tmp_path: Path, compose: Compose) -> None:
    points = sweep_of(tmp_path, compose, "rl/entropy", "none", "sft_aux", "sft_aux_decaying", "sft_aux_adaptive", seeds=("0",))
    for (option, _), point in points.items():
        if option != "none":
            add_curves(
                tmp_path, point, lore__sft_auxiliary__loss=DOWN, lore__sft_auxiliary__weight=UP if "adaptive" in option else [1.0] * 4
            )
    acted = {(e.arm.partition("=")[2], e.name): e.acted for e in effects(load_runs(tmp_path, "s1"))}
    assert acted == {
        ("sft_aux", "sft_auxiliary/loss"): True,
        ("sft_aux_decaying", "sft_auxiliary/loss"): True,
        ("sft_aux_decaying", "sft_auxiliary/weight"): False,
        ("sft_aux_adaptive", "sft_auxiliary/loss"): True,
        ("sft_aux_adaptive", "sft_auxiliary/weight"): True,
    }


def test_an_option_that_every_arm_has_is_not_compared_with_the_baseline(tmp_path: Path, compose: Compose) -> None:
    points = sweep_of(tmp_path, compose, "rl/entropy", "temperature", "none", seeds=("0",))
    for (option, _), point in points.items():
        path = tmp_path / "points" / point / "point.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"config": plain(compose(f"rl/entropy={option}", "reward=graded"))}))
    runs = load_runs(tmp_path, "s1")
    assert baseline_arm(runs) == "rl/entropy=none"
    assert [(e.name, e.acted) for e in effects(runs)] == [("entropy", True)]


def test_what_was_not_logged_or_cannot_be_compared_is_not_known(tmp_path: Path, compose: Compose) -> None:
    points = sweep_of(tmp_path, compose, "rl/entropy", "none", "kl_sft", "temperature", seeds=("0",))
    path = tmp_path / "points" / points["none", "0"] / "point.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "failed"}))
    runs = load_runs(tmp_path, "s1")
    assert baseline_arm(runs) is None
    assert {e.name: e.acted for e in effects(runs)} == {"kl": None, "entropy": None}
    assert not realised_effect(runs)
    facts = arm_facts(runs).set_index("arm")
    assert facts["acted"].tolist() == [None, None, None]
    assert "not logged" in facts.loc["kl_sft", "why"]
    assert "no baseline" in facts.loc["temperature", "why"]


def test_a_curriculum_shows_itself_by_its_order(tmp_path: Path, compose: Compose) -> None:
    points = sweep_of(tmp_path, compose, "curriculum", "random", "easy_to_hard", "staged", seeds=("0",))
    generator = np.random.default_rng(0)
    difficulty = generator.random(36)
    ids = [f"train-{place}" for place in range(36)]
    rank = np.argsort(difficulty)
    write_order(tmp_path, points["random", "0"], ids, difficulty.tolist())
    write_order(tmp_path, points["staged", "0"], ids, difficulty.tolist())
    write_order(tmp_path, points["easy_to_hard", "0"], [ids[place] for place in rank], difficulty[rank].tolist())
    runs = load_runs(tmp_path, "s1")
    assert {e.arm.partition("=")[2]: e.acted for e in effects(runs)} == {"easy_to_hard": True, "staged": False}
    facts = arm_facts(runs).set_index("arm")
    assert facts.loc["easy_to_hard", "order_trend"] == pytest.approx(1)
    assert facts.loc["random", "order_trend"] == pytest.approx(stats.spearmanr(difficulty, range(36)).statistic)
    orders = realised_orders(runs)
    assert list(orders) == ["random and 1 more", "easy_to_hard"]
    table = orders["easy_to_hard"]
    assert table["step"].tolist() == np.repeat(np.arange(1, STEPS + 1), 2).tolist()  # 36 prompts over 18 generation batches
    assert table["difficulty"].is_monotonic_increasing
    assert len(plot_orders(orders).axes) == 2


def test_the_table_of_arms_is_scipys_and_numpys(tmp_path: Path, compose: Compose) -> None:
    points = sweep_of(tmp_path, compose, "rl/entropy", "none", "kl_sft")
    generator = np.random.default_rng(5)
    pooled: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"none": [], "kl_sft": []}
    for (option, _), point in points.items():
        entropy = np.linspace(0.6, 0.05, STEPS) + generator.normal(0, 0.02, STEPS)
        reward = 0.9 - 0.2 * np.exp(entropy) + generator.normal(0, 0.01, STEPS)
        pooled[option].append((entropy, reward))
        add_curves(tmp_path, point, entropy=entropy, reward=reward, kl=UP)
    runs = load_runs(tmp_path, "s1")
    facts = arm_facts(runs).set_index("arm")
    for option, pairs in pooled.items():
        entropy, reward = (np.concatenate(side) for side in zip(*pairs, strict=True))
        slope, b = np.polyfit(np.exp(entropy), reward, 1)
        row = facts.loc[option]
        assert (row["law_a"], row["law_b"], row["law_ceiling"]) == pytest.approx((-slope, b, slope + b))
        assert row["law_r2"] == pytest.approx(np.corrcoef(np.exp(entropy), reward)[0, 1] ** 2)
        scores = runs.loc[runs["arm"] == f"rl/entropy={option}", "eval/macro_f1"]
        low, high = stats.t.interval(0.95, 2, scores.mean(), stats.sem(scores))
        assert (row["macro_f1"], row["low"], row["high"]) == pytest.approx((scores.mean(), low, high))
        assert row["plateau_entropy"] == pytest.approx(np.mean([own[-4:].mean() for own, _ in pairs]))
        assert (row["collapsed"], row["gained"], row["seeds"], row["seconds"]) == pytest.approx((3, 3, 3, 12.3))
        assert 12 <= row["time_to_collapse"] <= STEPS
    assert facts.loc["kl_sft", "acted"] is True
    text = facts_text(arm_facts(runs)).set_index("arm").loc["kl_sft"]
    assert text["acted"] == "yes: kl up to 0.5"
    assert text["steps to collapse"].endswith("(3)")


def test_an_arm_without_a_finished_seed_has_an_empty_row(tmp_path: Path, compose: Compose) -> None:
    points = sweep_of(tmp_path, compose, "rl/entropy", "none", "kl_sft", seeds=("0",))
    path = tmp_path / "points" / points["kl_sft", "0"] / "point.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "failed", "metrics": {}}))
    text = facts_text(arm_facts(load_runs(tmp_path, "s1"))).set_index("arm").loc["kl_sft"]
    assert (text["seeds"], text["acted"], text["macro-F1"], text["steps to collapse"]) == ("0", "no finished seed", "", "")


def test_the_folder_holds_table_and_pictures_of_all_arms(tmp_path: Path, compose: Compose) -> None:
    sweep_of(tmp_path, compose, "rl/entropy", *[arm.name for arm in ENTROPY], seeds=("0",))
    folder = write_laboratory(tmp_path)
    assert folder == tmp_path / "sweeps" / "s1" / "rl"
    for name in ("entropy", "law", "order"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert pd.read_csv(folder / "table.csv")["arm"].tolist() == [arm.name for arm in ENTROPY]
    assert (folder / "table.md").read_text().count("\n| ") == len(ENTROPY) + 1
    runs = load_runs(tmp_path, "s1")
    curves, labels = load_curves(runs), option_names(runs["arm"])
    panels = plot_entropy(curves, "rl/entropy", labels, "rl/entropy=none").axes
    shown = [axis.get_title(loc="left").partition(":")[0] for axis in panels if axis.get_visible()]
    assert sorted(shown) == sorted(arm.name for arm in ENTROPY)
    assert {len(axis.lines) for axis in panels if axis.get_visible()} == {1, 2}  # an arm, and the baseline behind every other one
    assert sum(axis.get_visible() for axis in plot_law(law_points(curves), labels).axes) == len(ENTROPY)


def test_runs_that_probed_get_a_picture_of_rare_pairs_and_both_kls(
    tmp_path: Path, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = sweep_of(tmp_path, compose, "rl/entropy", "none", "sft_aux", seeds=("0", "1"))
    folder = write_laboratory(tmp_path)
    assert not (folder / "balance.png").exists(), "nothing was probed"
    names = ("accuracy_tail", "accuracy_rule", "kl_forward", "kl_reverse")
    for point in points.values():
        add_curves(tmp_path, point, **{f"lore__probe__{name}": [0.1, 0.2, 0.3, 0.4] for name in names})
    drawn = []
    monkeypatch.setattr(
        "lore_lab.analysis.laboratory.plot_curves", lambda *given, **more: drawn.append(plot_curves(*given, **more)) or drawn[-1]
    )
    assert (write_laboratory(tmp_path) / "balance.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    assert [axis.get_title(loc="left") for axis in figure.axes] == [TITLES[f"rl/lore/probe/{name}"] for name in names]
    assert all([line.get_label() for line in axis.lines] == ["none", "sft_aux"] for axis in figure.axes)
    assert "balance.png" in (folder / "table.md").read_text()


def test_a_sweep_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no sweep"):
        write_laboratory(tmp_path)


def test_names_are_short_only_where_that_is_clear() -> None:
    assert option_names(["rl/entropy=a seed_x=1", "rl/entropy=b seed_x=1"]) == {"rl/entropy=a seed_x=1": "a", "rl/entropy=b seed_x=1": "b"}
    assert set(option_names(["rl/entropy=a", "curriculum=b"]).values()) == {"rl/entropy=a", "curriculum=b"}
    assert option_names(["default"]) == {"default": "default"}
    assert math.isnan(arm_facts(pd.DataFrame({"arm": ["x"], "state": ["queued"], "seed": [0], "point": ["p"], "stages": [[]]}))["gain"][0])

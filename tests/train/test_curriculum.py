"""Arms of a curriculum see the same prompts; only the order differs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore_lab.train.curriculum import order, visit

NAMES = ("random", "easy_to_hard", "hard_to_easy")
difficulties = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30)


@given(difficulties, st.integers(1, 90), st.integers(0, 99))
def test_every_order_visits_the_same_prompts_equally_often(difficulty: list[float], needed: int, seed: int) -> None:
    visits = [Counter(order(name, difficulty, needed, seed)) for name in NAMES]
    assert visits[0] == visits[1] == visits[2]
    assert visits[0].total() == needed
    assert set(visits[0]) <= set(range(len(difficulty)))
    often = [visits[0][index] for index in range(len(difficulty))]
    assert max(often) - min(often) <= 1


@given(difficulties, st.integers(1, 90), st.integers(0, 99))
def test_difficulty_never_turns_back(difficulty: list[float], needed: int, seed: int) -> None:
    values = np.array(difficulty)
    assert (np.diff(values[order("easy_to_hard", difficulty, needed, seed)]) >= 0).all()
    assert (np.diff(values[order("hard_to_easy", difficulty, needed, seed)]) <= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_ties_keep_the_random_order(name: str) -> None:
    difficulty = [0.0, 0.5, 1.0] * 100
    random, ordered = (order(which, difficulty, 400, seed=1) for which in ("random", name))
    for level in set(difficulty):
        assert [index for index in ordered if difficulty[index] == level] == [index for index in random if difficulty[index] == level]


@pytest.mark.parametrize("name", NAMES)
def test_the_order_is_a_function_of_the_seed(name: str) -> None:
    difficulty = [0.0, 0.5] * 10
    assert order(name, difficulty, 20, seed=0) == order(name, difficulty, 20, seed=0)
    assert order(name, difficulty, 20, seed=0) != order(name, difficulty, 20, seed=1)


@pytest.mark.parametrize("name", ["easy_to_hard", "hard_to_easy"])
def test_an_example_without_difficulty_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(ValueError, match=rf"curriculum={name} needs a difficulty.*2 have none\. Use curriculum=random"):
        order(name, [0.1, float("nan"), float("nan")], 3, seed=0)


def test_the_random_order_needs_no_difficulty() -> None:
    assert sorted(order("random", [float("nan")] * 3, 3, seed=0)) == [0, 1, 2]


def test_passes_are_whole_before_a_prompt_comes_again() -> None:
    visited = visit(5, 12, np.random.default_rng(0)).tolist()
    assert sorted(visited[:5]) == sorted(visited[5:10]) == [0, 1, 2, 3, 4]
    assert len(visited) == 12
    assert visited[:5] != visited[5:10]

"""Curves on disk: every step there, whatever killed the writer."""

from pathlib import Path

import pytest

from lore_lab.tracking.local import CurveWriter, finish_curves, read_curves


def values(folder: Path) -> dict[tuple[int, str], float]:
    frame = read_curves(folder)
    return {(step, name): value for step, name, value in frame.itertuples(index=False)}


def test_what_was_logged_is_read_while_the_writer_is_open(tmp_path: Path) -> None:
    writer = CurveWriter(tmp_path, "rl")
    writer.log(1, {"entropy": 0.5, "reward": 1.0})
    writer.log(2, {"entropy": 0.4, "note": float("nan")})
    assert values(tmp_path) == {(1, "rl/entropy"): 0.5, (1, "rl/reward"): 1.0, (2, "rl/entropy"): 0.4}


@pytest.mark.parametrize("lost", [1, 7, 60, 200])
def test_a_cut_tail_costs_at_most_the_last_steps(tmp_path: Path, lost: int) -> None:
    writer = CurveWriter(tmp_path, "rl")
    for step in range(1, 11):
        writer.log(step, {"entropy": step / 10})
    file = tmp_path / "curves-000.arrow"
    file.write_bytes(file.read_bytes()[:-lost])
    found = values(tmp_path)
    assert 8 <= len(found) <= 10
    assert all(value == step / 10 for (step, _), value in found.items())


def test_the_later_attempt_wins_where_attempts_overlap(tmp_path: Path) -> None:
    first = CurveWriter(tmp_path, "rl")
    for step in (1, 2, 3):
        first.log(step, {"entropy": 1.0})
    second = CurveWriter(tmp_path, "rl")
    for step in (3, 4):
        second.log(step, {"entropy": 2.0})
    second.close()
    expected = {(1, "rl/entropy"): 1.0, (2, "rl/entropy"): 1.0, (3, "rl/entropy"): 2.0, (4, "rl/entropy"): 2.0}
    assert values(tmp_path) == expected
    output = tmp_path / "output"
    output.mkdir()
    finish_curves(tmp_path, output)
    assert values(output) == expected


def test_no_curve_is_an_empty_table(tmp_path: Path) -> None:
    assert list(read_curves(tmp_path).columns) == ["step", "name", "value"]
    assert read_curves(tmp_path).empty

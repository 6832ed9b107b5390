"""The table of bars: what a benchmark says of its bar arrives in it. The figures themselves are no test's business."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bars() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "bars.py"))


def test_a_bar_is_met_on_its_own_side(bars: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    bar = bars["bar"]
    assert bar("time", 0.25, at_most=0.25)
    assert not bar("time", 0.26, at_most=0.25)
    assert bar("speed", 2.0, at_least=2)
    assert not bar("speed", 1.9, at_least=2)
    assert bar("slope", 99.0)
    assert "time: 0.26 (bar: at most 0.25, not met)" in capsys.readouterr().out


def test_every_benchmark_of_the_table_is_there(bars: dict[str, Any]) -> None:
    assert all((BENCHMARKS / f"{name}.py").is_file() for name in bars["FORMS"])


def test_the_short_form_prints_the_table() -> None:
    command = [sys.executable, str(BENCHMARKS / "bars.py"), "--short", "--only", "startup"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    rows = [line for line in run.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 4
    assert "at most 2" in rows[2]
    assert rows[2].endswith("| `python benchmarks/startup.py --rounds 1` |")

"""The report is one file that needs nothing, escapes everything, and shows sweeps in any state."""

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from chrome import BROWSER, Chrome
from fake_tree import HOSTILE, write_sweep

from lore_lab.analysis import load_runs, verdict, write_report
from lore_lab.analysis.report import ClaimCard
from lore_lab.analysis.report.charts import ticks

needs_browser = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed (apt-get install chromium)")


class _Outline(HTMLParser):
    """Tags that were opened and never closed, scripts, and everything that points outside."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br", "input", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return None

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tree, "s1", tmp_path_factory.mktemp("report") / "report.html")


def test_the_report_is_whole_and_points_nowhere_outside(report: Path) -> None:
    html = report.read_text()
    outline = _Outline(html)
    assert not outline.open
    assert not [link for link in outline.links if not link.startswith("#")]
    assert "http://" not in html
    assert "https://" not in html
    for part in (
        "Arms",
        "Curves",
        "Confusion matrices",
        "Before and after RL",
        "Provenance",
        "python train.py -m rl.clip_high",
        "trl 1.16.0",
    ):
        assert part in html


def test_hostile_text_stays_text(report: Path) -> None:
    html = report.read_text()
    assert "<script>window.hacked" not in html
    assert "&lt;script&gt;window.hacked=1" in html
    data = re.findall(r'<script type="application/json" class="data">(.*?)</script>', html, re.S)
    assert _Outline(html).scripts == len(data) + 1
    assert all(json.loads(chart)["arms"] for chart in data)


def test_a_hostile_arm_name_stays_text_in_the_charts_data(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"model.name": ["</script><script>alert(1)</script>", "b"], "seed": ["0", "1"]})
    html = write_report(tmp_path, None, tmp_path / "r.html").read_text()
    assert "<script>alert(1)" not in html
    assert not _Outline(html).open


def test_failed_queued_and_inert_points_are_shown(tmp_path: Path) -> None:
    points = write_sweep(tmp_path, {"rl.clip_high": ["0.2", "0.28"], "seed": ["0", "1"]}, model_bytes={"0.2": "x", "0.28": "x"})
    path = tmp_path / "points" / points[3] / "point.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "failed", "error": "boom <b>", "metrics": {}}))
    (tmp_path / "points" / points[2] / "point.json").unlink()
    html = write_report(tmp_path, "s1", tmp_path / "r.html").read_text()
    assert "boom &lt;b&gt;" in html
    assert "1 queued" in html
    write_sweep(tmp_path / "b", {"rl.clip_high": ["0.2", "0.28"], "seed": ["0", "1"]}, model_bytes={"0.2": "x", "0.28": "x"})
    assert "same weights as" in write_report(tmp_path / "b", "s1", tmp_path / "r.html").read_text()


def test_a_root_with_nothing_in_it_gives_an_empty_report(tmp_path: Path) -> None:
    assert "No curves yet" in write_report(tmp_path, None, tmp_path / "r.html").read_text()
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path, "nope", tmp_path / "r.html")


def test_claims_get_a_board_and_a_page_each(tree: Path, tmp_path: Path) -> None:
    verdicts = tuple(verdict(load_runs(tree), "rl.clip_high=0.2", smallest_effect=0.01))
    cards = [
        ClaimCard(
            "lore/clip", "A claim & more", "LORE", "secondary", "eval/macro_f1", "supported", verdicts, sweep="s1", confounds=("rl.lr",)
        ),
        ClaimCard("lore/vlm", "Another", "LORE", "paper", "eval/macro_f1", needs="pretrained model"),
    ]
    html = write_report(tree, None, tmp_path / "r.html", claims=cards).read_text()
    assert 'href="#lore-clip"' in html
    assert 'id="lore-clip"' in html
    assert "A claim &amp; more" in html
    assert "needs pretrained model" in html
    assert "also differ in rl.lr" in html


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.61, 0.63), (-3e-7, 5e-7), (5, 5), (0, 0), (-2, -1), (1, 12345)])
def test_ticks_are_few_and_hold_the_range(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8


def test_many_points_are_written_in_time(tmp_path: Path) -> None:
    arms = [f"{0.2 + i / 1000:.3f}" for i in range(50)]
    write_sweep(tmp_path, {"rl.clip_high": arms, "seed": list("01234")}, steps=30, examples=4)
    start = time.perf_counter()
    report = write_report(tmp_path, "s1", tmp_path / "r.html")
    assert time.perf_counter() - start < 5  # the promise is 5 s for four times as many: benchmarks/load_runs.py
    assert "38 are not" in report.read_text()


@pytest.mark.slow
@needs_browser
def test_in_a_browser_it_draws_hovers_toggles_and_complains_of_nothing(report: Path, tmp_path: Path) -> None:
    with Chrome() as page:
        assert page.open(report) < 5
        visible = (
            "[...document.querySelectorAll('.sweep > .charts g[data-arm=\"1\"]')].filter((g) => g.getBoundingClientRect().width > 0).length"
        )
        assert page.run(visible) == 2
        page.run("document.querySelector('[data-toggle=\"1\"]').click()")
        assert page.run(visible) == 0
        page.run("document.querySelector('[data-toggle=\"1\"]').click()")
        assert page.run(visible) == 2
        page.run("document.querySelector('.chart').scrollIntoView()")
        box = json.loads(page.run("JSON.stringify(document.querySelector('.plot svg').getBoundingClientRect())"))
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box["x"] + box["width"] / 2, y=box["y"] + box["height"] / 2)
        tip = page.run("document.querySelector('.tip').innerText")
        assert "rl.clip_high=0.28: 0." in tip
        page.picture(tmp_path / "report.png")
        assert page.run("window.hacked === undefined")
        assert not page.complaints
        assert all(url.startswith("file://") for url in page.requests)


@pytest.mark.slow
@needs_browser
def test_in_a_browser_the_board_leads_to_a_claims_page(tree: Path, tmp_path: Path) -> None:
    verdicts = tuple(verdict(load_runs(tree), "rl.clip_high=0.2", smallest_effect=0.01))
    common: dict[str, Any] = {"source": "LORE", "tag": "paper", "metric": "eval/macro_f1"}
    card = ClaimCard("lore/clip", HOSTILE, outcome="supported", verdicts=verdicts, sweep="s1", arms={"low": "rl.clip_high=0.2"}, **common)
    other = ClaimCard("lore/vlm", "Another", needs="a model that sees and has a name too long for one line of a phone", **common)
    html = write_report(tree, None, tmp_path / "r.html", claims=[card, other])
    with Chrome() as page:
        page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
        page.open(html)
        page.run("document.querySelector('#board a').click()")
        assert page.run("location.hash") == "#lore-clip"
        assert page.run("document.querySelectorAll('#lore-clip-runs .chart path.line').length") >= 4
        assert page.run("document.documentElement.scrollWidth") <= 390
        assert page.run("window.hacked === undefined")
        assert not page.complaints


@pytest.mark.slow
@needs_browser
def test_on_a_phone_nothing_but_tables_is_wider_than_the_screen(report: Path) -> None:
    with Chrome() as page:
        page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
        page.open(report)
        assert page.run("document.documentElement.scrollWidth") <= 390

"""Results are judged from a finished sweep, kept as JSON, and stale when what they stand on moved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lore_lab.analysis.report import write_report
from lore_lab.analysis.stats import t_test
from lore_lab.analysis.verdicts import Verdict, judge, overall
from lore_lab.claims.claim import EXPERIMENTS, Claim, load_claim
from lore_lab.claims.results import KeyBook, load_result, make_result, result_path, staleness, write_result
from lore_lab.claims.run import arm_words
from lore_lab.claims.standing import BEGIN, END, board, cards, standings, with_board, write_board
from lore_lab.stages.keys import version
from tests.claims.conftest import Change, name_arms, write_sweep

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def result(changed: Change, swept: Path) -> dict[str, Any]:
    return make_result(changed(), swept, "s1")


def test_a_result_holds_figures_effect_interval_verdict_and_provenance(result: dict[str, Any], folder: Path) -> None:
    write_result(result_path("test/clip", folder), result)
    read = load_result("test/clip", folder)
    assert read is not None
    assert read == json.loads(json.dumps(result))
    (verdict,) = read["verdicts"]
    low, high = (read["figures"][arm]["eval/macro_f1"] for arm in ("low", "high"))
    assert verdict["effect"] == pytest.approx(sum(high) / 5 - sum(low) / 5)
    assert verdict["low"] < 0.03 < verdict["high"]
    assert (read["outcome"], verdict["seeds"]) == ("supported", [0, 1, 2, 3, 4])
    assert verdict["improvement"] > 0.9
    assert {row["subset"] for row in read["subsets"]["high"]} == {"general", "hard", "visual", "rule"}
    assert set(read["stages"]["low"]) == {"sft", "sft_eval", "rl", "eval"}
    assert read["stages"]["low"]["sft"] == read["stages"]["high"]["sft"]
    assert read["seconds"] == pytest.approx(12.3 * (5 + 5 + 10 + 10))  # each stage once, however many points use it
    assert read["versions"] == {"torch": "2.13.0", "trl": "1.16.0"}
    assert read["rule"]["seeds"] == [0, 1, 2, 3, 4]


def test_a_metric_shown_beside_the_judged_one_reaches_the_result_and_the_page(changed: Change, swept: Path, folder: Path) -> None:
    claim = changed("axes:", "shown: [eval/pass@8 - eval/pass@1]\naxes:")
    found = make_result(claim, swept, "s1")
    rows = {arm: figures["eval/pass@8 - eval/pass@1"] for arm, figures in found["figures"].items()}
    assert {len(row) for row in rows.values()} == {5}
    write_result(result_path("test/clip", folder), found)
    page = write_report(swept, "s1", folder / "r.html", claims=cards(standings(folder), swept)).read_text()
    assert "eval/pass@8 - eval/pass@1, mean" in page
    assert f"{sum(rows['high']) / 5:.3f}" in page
    with pytest.raises(KeyError, match="no metric 'deploy/cost'"):
        make_result(changed("axes:", "shown: [deploy/cost]\naxes:"), swept, "s1")


def test_notes_name_the_arm_and_how_many_of_its_seeds(changed: Change, tmp_path: Path) -> None:
    write_sweep(tmp_path, {"rl.clip_high": ["0.2", "0.28"], "seed": list("01234")}, clip=0.0)
    name_arms(tmp_path, {"0.2": "low", "0.28": "high"})
    notes = make_result(changed(), tmp_path, "s1")["notes"]
    assert notes == [f"{arm}, 5 of 5 seeds: no arm ever reached clip_high: the axis did nothing" for arm in ("high", "low")]


def test_controls_have_figures_and_no_verdict(changed: Change, tmp_path: Path) -> None:
    write_sweep(tmp_path, {"rl.clip_high": ["0.2", "0.28", "0.3"], "seed": list("01234")})
    name_arms(tmp_path, {"0.2": "low", "0.28": "high", "0.3": "other"})
    claim = changed("axes:", "controls: [other]\naxes:", "  low:", "  other: [rl.clip_high=0.3]\n  low:")
    found = make_result(claim, tmp_path, "s1")
    assert [v["arm"] for v in found["verdicts"]] == ["high"]
    assert found["verdicts"][0]["p_holm"] == pytest.approx(2 * min(t_test(found["verdicts"][0]["differences"])))  # a family of one
    assert set(found["figures"]) == {"low", "high", "other"}
    assert set(found["subsets"]) == {"high", "other"}


def test_a_metric_that_is_a_difference_needs_no_baseline(changed: Change, swept: Path) -> None:
    claim = changed("baseline: low", "baseline: none", "metric: eval/macro_f1", "metric: eval/pass@8 - eval/pass@1")
    found = make_result(claim, swept, "s1")
    assert [v["effect"] for v in found["verdicts"]] == pytest.approx([0.25, 0.25])
    assert found["subsets"] == {}


def test_a_metric_nobody_measured_is_named(changed: Change, swept: Path) -> None:
    with pytest.raises(KeyError, match="eval/mrr"):
        make_result(changed("metric: eval/macro_f1", "metric: eval/mrr"), swept, "s1")


def fresh(claim: Claim, book: KeyBook) -> dict[str, Any]:
    """What a result of the present code holds, as far as staleness goes."""
    words = {arm: tuple(own) for (arm, seed), own in arm_words(claim).items() if seed == claim.seeds[0]}
    return {
        "rule": json.loads(json.dumps(claim.rule)),
        "versions": {name: version(name) for name in ("torch", "python")},
        "device": "cpu",
        "stages": {arm: book.keys(own, "cpu") for arm, own in words.items()},
    }


def test_a_result_is_stale_when_rule_library_or_stage_moved_and_only_then(changed: Change) -> None:
    claim, book = changed(), KeyBook()
    held = fresh(claim, book)
    assert staleness(claim, held, book) == ""
    assert staleness(changed("smallest_effect: 0.01", "smallest_effect: 0.02"), held, book) == (
        "the claim's file now has another smallest_effect"
    )
    assert staleness(changed("claim: A higher", "claim: A much higher"), held, book) == ""  # wording decides nothing
    older = held | {"versions": held["versions"] | {"torch": "2.12.0"}}
    assert staleness(claim, older, book) == f"other libraries: torch 2.12.0 -> {version('torch')}"
    moved = {arm: keys | {"sft": "0123", "rl": "4567", "eval": "89ab"} for arm, keys in held["stages"].items()}
    assert staleness(claim, held | {"stages": moved}, book) == "code or settings of stage sft changed"


def test_code_that_cannot_matter_does_not_void_a_result_and_code_that_can_does(changed: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    from lore_lab.stages import graph, keys

    claim = changed()
    held = fresh(claim, KeyBook())
    inspect = keys._inspect

    def edited(module: str) -> Any:
        digest, imports = inspect(module)
        return (digest + "edited" if module == edit else digest), imports

    monkeypatch.setattr(keys, "_inspect", edited)
    assert graph.stage_key is keys.stage_key
    edit = "lore_lab.train.kl_cov"  # an arm that this claim does not use
    assert staleness(claim, held, KeyBook()) == ""
    edit = "lore_lab.train.trainer"
    assert staleness(claim, held, KeyBook()) == "code or settings of stage rl changed"


def test_what_keys_are_made_of_is_kept_until_settings_move_and_code_is_always_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lore_lab.claims import results
    from lore_lab.config.compose import compose
    from lore_lab.stages import graph, keys

    path, words = tmp_path / "keys.json", ("rl=off",)
    book = KeyBook(path)
    before = book.keys(words, "cpu")
    assert before == {role: node.key for role, node in graph.build(compose((*words, "compute.device=cpu"))).items()}
    book.save()
    monkeypatch.setattr(results, "compose", lambda words: pytest.fail("composed again"))
    assert KeyBook(path).keys(words, "cpu") == before
    inspect = keys._inspect
    monkeypatch.setattr(
        keys, "_inspect", lambda module: (inspect(module)[0] + "edited" * (module == "lore_lab.train.sft"), inspect(module)[1])
    )
    after = KeyBook(path).keys(words, "cpu")
    assert {role for role in before if after[role] != before[role]} == {"sft", "eval"}
    monkeypatch.setattr(results, "CONF", tmp_path)  # other settings
    with pytest.raises(pytest.fail.Exception):
        KeyBook(path).keys(words, "cpu")


def test_the_board_shows_what_was_measured_and_names_the_rest(result: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    (folder / "test" / "other.yaml").write_text((folder / "test" / "clip.yaml").read_text())
    (folder / "test" / "later.yaml").write_text((folder / "test" / "clip.yaml").read_text() + "needs: the flux stage\n")
    write_result(result_path("test/clip", folder), result)
    text = board(standings(folder))
    assert text.startswith("3 claims, 1 measured.")
    assert "| [test/clip](experiments/test/clip.yaml): A higher upper clip raises macro-F1. | assumed | supported | +0.0" in text
    assert "Runnable, not measured yet:\n\n- test: other\n" in text
    assert "Waiting for something the lab lacks: test/later." in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_board(page, standings(folder))
    assert page.read_text() == f"before\n{BEGIN}\n{text}\n{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="goes between the lines"):
        write_board(page, standings(folder))


def test_the_board_of_the_readme_is_the_present_one() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert BEGIN in text
    assert with_board(text, standings()) == text, "run: lore-lab claims --write README.md"


def test_a_card_has_the_verdict_the_figures_and_the_sweep_where_it_lies(
    result: dict[str, Any], folder: Path, swept: Path, tmp_path: Path
) -> None:
    from lore_lab.analysis import write_report

    write_result(result_path("test/clip", folder), result)
    (card,) = cards(standings(folder), swept)
    assert (card.outcome, card.sweep, card.role("low")) == ("supported", "s1", "baseline")
    assert card.values("high") == result["figures"]["high"]["eval/macro_f1"]
    assert cards(standings(folder), tmp_path)[0].sweep is None
    html = write_report(swept, None, tmp_path / "r.html", claims=[card]).read_text()
    for part in (
        "rl.clip_high=0.28",
        "experiment=test/clip",
        'id="test-clip"',
        'id="test-clip-runs"',
        "differ in <code>rl.clip_high</code> only",
    ):
        assert part in html
    assert "Curves" not in write_report(tmp_path, None, tmp_path / "r.html", claims=cards(standings(folder), tmp_path)).read_text()


def test_the_list_of_claims_comes_without_torch(tmp_path: Path) -> None:
    code = f"import sys; from lore_lab.cli import main; sys.exit(main(['--root', {str(tmp_path)!r}, 'claims']) or 'torch' in sys.modules)"
    environment = os.environ | {"COLUMNS": "200"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert "lore/clip_higher" in run.stdout
    assert "needs live search traffic" in run.stdout


@pytest.mark.parametrize("name", ["lore/clip_higher"])
def test_a_run_with_further_words_is_not_the_files_own(name: str) -> None:
    from lore_lab.claims.run import Plan

    claim = load_claim(name)
    assert Plan(claim, ("root=elsewhere", "tracking=local"), ()).as_filed
    assert not Plan(claim, ("seed=0,1",), ()).as_filed
    assert not Plan(claim, ("root=elsewhere", "data.size=64"), ()).as_filed


def test_every_committed_result_belongs_to_a_claim_and_is_what_the_rule_says() -> None:
    for path in EXPERIMENTS.glob("*/*.result.json"):
        name = f"{path.parent.name}/{path.name.removesuffix('.result.json')}"
        claim, found = load_claim(name), load_result(name)
        assert found is not None
        verdicts = [Verdict.from_dict(row) for row in found["verdicts"]]
        again = judge(
            {v.arm: v.differences for v in verdicts},
            smallest_effect=found["rule"]["smallest_effect"],
            direction=found["rule"]["direction"],
            inert={v.arm: "noted" for v in verdicts if "did not act" in v.reason},
        )
        assert [v.outcome for v in again] == [v.outcome for v in verdicts], name
        assert overall(verdicts)[0] == found["outcome"], name
        assert len(found["rule"]["seeds"]) >= 5, name
        assert "+changes" not in found["commit"], f"{name} was measured on code that was not committed"
        assert claim.judged, name

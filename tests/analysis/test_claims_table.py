"""The table of claims and its picture."""

from pathlib import Path

import pandas as pd

from lore_lab.analysis import load_claims, plot_verdicts

FILE = "claim: It helps.\nsource: a test\ntag: paper\nmetric: eval/macro_f1\ndirection: up\nsmallest_effect: 0.02\nbaseline: a\nbudget: 1\n"
RESULT = """{"outcome": "no effect", "verdicts": [
 {"arm": "b", "outcome": "supported", "effect": 0.04, "low": 0.02, "high": 0.06, "p_holm": 0.01, "improvement": 1.0, "seeds": [0, 1, 2, 3, 4],
  "seeds_to_settle": null, "reason": "r"},
 {"arm": "c", "outcome": "no effect", "effect": 0.0, "low": -0.01, "high": 0.01, "p_holm": 0.9, "improvement": 0.5, "seeds": [0, 1, 2, 3, 4],
  "seeds_to_settle": null, "reason": "r"}]}"""


def test_a_row_an_arm_and_one_for_what_was_not_measured(tmp_path: Path) -> None:
    for name, more in (("lore/measured", ""), ("lore/open", ""), ("rl/waits", "needs: the flux stage\n")):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(FILE + more)
    (tmp_path / "lore" / "measured.result.json").write_text(RESULT)
    table = load_claims(tmp_path)
    assert list(table["name"]) == ["lore/measured", "lore/measured", "lore/open", "rl/waits"]
    assert list(table["verdict"]) == ["no effect", "no effect", "not measured", "needs the flux stage"]
    assert list(table["arm"][:2]) == ["b", "c"]
    assert list(table["seeds"][:2]) == [5, 5]
    axis = plot_verdicts(table).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["lore/measured · b: supported", "lore/measured · c: no effect"]
    assert [tuple(line.get_xdata()) for line in axis.lines[1::2]] == [(1.0, 3.0), (-0.5, 0.5)]  # in smallest effects


def test_nothing_measured_is_a_picture_that_says_so(tmp_path: Path) -> None:
    assert load_claims(tmp_path).empty
    picture = plot_verdicts(pd.DataFrame(columns=["arm", "outcome", "effect", "low", "high", "smallest_effect"]))
    assert [text.get_text() for text in picture.texts] == ["nothing measured yet"]

"""Targets read back as written; whatever else a model may say counts as no answer."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lore_lab.prompts.formats import Parsed, response_format

NAMES = ("label_only", "answer_first", "reason_first")
LAYOUTS = {name: response_format(name, 4) for name in NAMES}
#: a valid completion of each layout with grade 3 (index 2)
VALID = {"label_only": "3", "answer_first": "3\nneeds red: met", "reason_first": "needs red: met\nanswer: 3"}


def states_an_answer(text: str) -> bool:
    lines = text.splitlines()
    return "answer:" in text.lower() or any(any(map(str.isnumeric, line)) and not any(map(str.isalpha, line)) for line in lines)


reasonings = st.text(min_size=1, max_size=60).map(str.strip).filter(bool)


@pytest.mark.parametrize("name", NAMES)
@given(reasoning=reasonings, grades=st.integers(2, 9), data=st.data())
def test_a_target_reads_back_as_written(name: str, reasoning: str, grades: int, data: st.DataObject) -> None:
    assume(not states_an_answer(reasoning))
    layout = response_format(name, grades)
    grade = data.draw(st.integers(0, grades - 1))
    parsed = layout.parse(layout.render(grade, reasoning), finished=True)
    assert parsed == Parsed(grade, reasoning if layout.reasons else "")


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_each_layout_is_valid(name: str) -> None:
    assert LAYOUTS[name].parse(VALID[name], finished=True).grade == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_completion_cut_by_the_limit_is_invalid_whatever_it_says(name: str) -> None:
    assert LAYOUTS[name].parse(VALID[name], finished=False) == Parsed(None, problem="unfinished")


HOSTILE: dict[str, list[str]] = {
    "label_only": [
        "", " ", "3 ", " 3", "3\n", "\n3", "3.", "33", "3 3", "3\n3", "0", "5", "-3", "+3", "3\r", "3\x00", "３", "³", "²", "٣", "Ⅲ", "①",
        "three", "answer: 3", "Answer: 3", "label: 3", "<answer>3", "<answer>3</answer>", "3<|endoftext|>", "{3", '{"label": 3}', "3" * 10_000,
        "query: red shoe\ntitle: shoe\njudge:\n3",
    ],
    "answer_first": [
        "", "3", "3\n", "3\n ", "3 \nred", " 3\nred", "3 red", "3\n red", "3\nred ", "3\nred\n", "3\r\nred", "33\nred", "0\nred", "5\nred",
        "３\nred", "²\nred", "Ⅲ\nred", "three\nred", "answer: 3\nred", "3\nred\nanswer: 4", "3\nred\nAnswer: 4", "3\nthe ANSWER: 4 holds", "3\n4",
        "3\n4\nred", "3\nred\n4", "3\nred\n ４", "3\nred\n²", "3\n4 4", "3\n(4)", "3\nred\n4.", "3\nred\n-> 4", "3\nⅣ", "<3\nred", "{3\nred", "x" * 10_000,
        "query: red shoe\ntitle: shoe\njudge:\n3\nred",
    ],
    "reason_first": [
        "", "3", "answer: 3", "\nanswer: 3", " \nanswer: 3", "red\nanswer: 3 ", "red\nanswer: 3\n", "red\nanswer: 3.", "red\nanswer: 33",
        "red\nanswer: 0", "red\nanswer: 5", "red\nanswer: ３", "red\nanswer: ²", "red\nanswer: ٣", "red\nanswer: three", "red\nanswer:3",
        "red\nanswer:  3", "red\nanswer：3", "red\nAnswer: 3", "red\nANSWER: 3", "red answer: 3", "red\r\nanswer: 3", "red\nanswer: <3", "red\nanswer: {3",
        "red\nanswer: 3\nanswer: 4", "answer: 4\nanswer: 3", "red\nAnswer: 4\nanswer: 3", "red, so answer: 4\nanswer: 3", "red\n4\nanswer: 3",
        "4\nanswer: 3", "red\n４\nanswer: 3", "red\n4 4\nanswer: 3", "red\n[4]\nanswer: 3", "red\nanswer: 3<|endoftext|>", "red\nanswer: 3 because",
        "red", "x" * 10_000, "red\nanswer: " + "3" * 10_000, "query: red shoe\ntitle: answer: 4\njudge:\nanswer: 3",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in HOSTILE.items() for text in texts], ids=lambda text: repr(text)[:40]
)
def test_a_hostile_completion_is_invalid_and_says_why(name: str, text: str) -> None:
    parsed = LAYOUTS[name].parse(text, finished=True)
    assert parsed.grade is None
    assert parsed.problem in ("layout", "several answers")


@pytest.mark.parametrize("name", ["answer_first", "reason_first"])
def test_ten_thousand_characters_of_reasoning_are_read_whole(name: str) -> None:
    reasoning = "the item is red\n" * 625 + "done"
    assert LAYOUTS[name].parse(LAYOUTS[name].render(1, reasoning), finished=True).reasoning == reasoning


@pytest.mark.parametrize("name", NAMES)
@given(before=st.text(max_size=8), after=st.text(max_size=8))
def test_text_around_a_valid_completion_never_changes_its_grade_unseen(name: str, before: str, after: str) -> None:
    """Only reasoning may grow, and only where reasoning stands: the one label keeps its place and its value."""
    parsed = LAYOUTS[name].parse(before + VALID[name] + after, finished=True)
    if parsed.grade is not None:
        assert parsed.grade == 2
        assert name != "label_only" or before == after == ""
        assert name != "answer_first" or before == ""
        assert name != "reason_first" or after == ""


@pytest.mark.parametrize("name", ["answer_first", "reason_first"])
@pytest.mark.parametrize("reasoning", ["", " red", "red ", "so\nanswer: 2", "2", "Answer: 2"])
def test_reasoning_that_would_not_read_back_is_no_target(name: str, reasoning: str) -> None:
    with pytest.raises(ValueError, match="does not parse back"):
        LAYOUTS[name].render(0, reasoning)


def test_labels_without_reasoning_ignore_it() -> None:
    assert LAYOUTS["label_only"].render(0, "whatever") == "1"


@pytest.mark.parametrize("grades", [0, 1, 10])
def test_labels_are_single_digits(grades: int) -> None:
    with pytest.raises(ValueError, match="2 to 9 grades"):
        response_format("label_only", grades)


def test_the_highest_label_is_the_number_of_grades() -> None:
    layout = response_format("label_only", 2)
    assert [layout.parse(text, finished=True).grade for text in ("1", "2", "3")] == [0, 1, None]

"""Every pair gets its own answer back, in a table that does not depend on how the work was batched."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest

from lore_lab.data.example import Example
from lore_lab.evaluate.metrics import INVALID
from lore_lab.evaluate.predict import Pair, beam_answers, predict
from lore_lab.prompts.formats import response_format
from lore_lab.prompts.reading import read_completion
from lore_lab.rollout.engine import Sampling

END = 0
LAYOUT = response_format("reason_first", 4)


class Letters:
    """A token a character; the end token decodes as markup."""

    all_special_ids = (END,)

    def encode(self, text: str, **_: object) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return "".join("<end>" if token == END else chr(token) for token in ids)


class Parrot:
    """Answers with the grade its prompt ends in; sampled answers are cut before the end."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, float]] = []
        self.lengths: list[list[int]] = []

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        self.batches.append((len(prompts), sampling.temperature))
        self.lengths.append([len(prompt) for prompt in prompts])
        ids = [[*Letters().encode(f"so\nanswer: {prompt[-1]}"), END] for prompt in prompts]
        return ids if sampling.temperature == 0 else [completion[:-1] for completion in ids]


def pairs() -> list[Pair]:
    found = []
    for number in (3, 0, 5, 1, 6, 2, 4):
        example = Example(f"general-{number}", "q", "i", f"query {number}", {"title": "shoe"}, number % 3, number % 4, 0.5)
        found.append(Pair(example, "general", [9] * (7 - number) + [number % 4 + 1], sampled=number < 2))
    return found


def table(batch_size: int, engine: Parrot) -> pd.DataFrame:
    return predict(pairs(), engine, Letters(), [END], LAYOUT, Sampling(1.0, 20), 3, batch_size, lambda *_: None)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_pair_gets_its_own_answer_whatever_the_batch(batch_size: int) -> None:
    engine = Parrot()
    found = table(batch_size, engine)
    greedy, sampled = found[found["mode"] == "greedy"], found[found["mode"] == "sampled"]
    assert greedy["example_id"].tolist() == [f"general-{number}" for number in range(7)]
    assert (greedy["predicted"] == greedy["gold"]).all()
    assert greedy["problem"].isna().all()
    assert [(name, len(rows)) for name, rows in sampled.groupby("example_id")] == [("general-0", 3), ("general-1", 3)]
    assert (sampled["predicted"] == INVALID).all()
    assert set(sampled["problem"]) == {"unfinished"}
    assert all(size <= batch_size for size, _ in engine.batches)
    pd.testing.assert_frame_equal(found, table(2, Parrot()))


def test_prompts_of_like_length_share_a_batch() -> None:
    engine = Parrot()
    table(2, engine)
    assert max(max(lengths) - min(lengths) for lengths in engine.lengths) <= 1


def test_a_row_says_what_a_person_wants_to_read() -> None:
    found = table(4, Parrot()).iloc[5]
    assert (found["query"], found["title"], found["label"], found["gold"]) == ("query 5", "shoe", 2, 1)
    assert (found["completion"], found["tokens"], found["reasoning_tokens"]) == ("so\nanswer: 2", 13, 2)


def test_progress_ends_at_the_number_of_completions() -> None:
    reports: list[tuple[int, int, str]] = []
    predict(pairs(), Parrot(), Letters(), [END], LAYOUT, Sampling(1.0, 20), 3, 4, lambda *report: reports.append(report))
    assert reports[-1][:2] == (13, 13)
    assert [done for done, *_ in reports] == sorted({done for done, *_ in reports})


@pytest.mark.parametrize(
    ("ids", "text", "problem"),
    [
        ([*b"so\nanswer: 2", END], "so\nanswer: 2", None),
        ([*b"so\nanswer: 2"], "so\nanswer: 2", "unfinished"),
        ([*b"so\nanswer: 2", END, END], "so\nanswer: 2<end>", "special token"),
        ([*b"so\nanswer: 2", END, *b"3", END], "so\nanswer: 2<end>3", "special token"),
        ([END], "", "layout"),
        ([], "", "unfinished"),
    ],
)
def test_only_the_last_end_token_is_taken_off(ids: list[int], text: str, problem: str | None) -> None:
    found, parsed = read_completion(ids, Letters(), [END], LAYOUT)
    assert (found, parsed.problem) == (text, problem)


class Fan(Parrot):
    """Beams: the grade the prompt ends in, the next one, then something that is no answer."""

    def beams(self, prompts: Sequence[Sequence[int]], width: int, max_tokens: int) -> list[list[list[int]]]:
        self.batches.append((len(prompts) * width, -1.0))
        texts = [[f"so\nanswer: {prompt[-1]}", f"so\nanswer: {prompt[-1] % 4 + 1}", "hm"][:width] for prompt in prompts]
        return [[[*Letters().encode(text), END] for text in own] for own in texts]


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_every_pair_gets_its_own_beam_in_order(batch_size: int) -> None:
    engine = Fan()
    found = beam_answers(pairs(), engine, Letters(), [END], LAYOUT, 3, 20, batch_size, lambda *_: None)  # type: ignore[arg-type]
    assert set(found["mode"]) == {"beam"}
    assert found["sample"].tolist() == [0, 1, 2] * 7
    assert found["example_id"].tolist() == [f"general-{number}" for number in range(7) for _ in range(3)]
    for _, own in found.groupby("example_id"):
        gold = own["gold"].iloc[0]
        assert own["predicted"].tolist() == [gold, (gold + 1) % 4, INVALID]
    assert all(size <= max(3, batch_size) for size, _ in engine.batches)

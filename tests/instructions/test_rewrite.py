"""A language model as a mutation: what it is asked, what becomes of what it says. Against a real HTTP server on loopback."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lore_lab.endpoint import EndpointError
from lore_lab.instructions.rewrite import Rewrite
from lore_lab.teacher.replies import open_replies
from tests.teacher.server import Teacher, completion, serving

LINES = ("task: grade the pair", "rule: a box is not the product", "rule: near sizes fit")
SETTINGS = {
    "model": "m", "revision": "1", "key_variable": None, "temperature": 0.7, "top_p": 1.0, "max_tokens": 64, "seed": 0, "structured": True, "concurrency": 2,
    "requests_per_minute": 60000.0, "timeout": 5.0, "attempts": 1, "backoff": 0.0, "price_in": 1e4, "price_out": 0.0,
}  # fmt: skip


@pytest.fixture
def teacher() -> Iterator[tuple[Teacher, str]]:
    teacher = Teacher()
    with serving(teacher) as url:
        yield teacher, url


def rewrite(url: str, folder: Path) -> Rewrite:
    return Rewrite(open_replies(SimpleNamespace(base_url=url, **SETTINGS), folder))


def says(teacher: Teacher, text: str) -> None:
    teacher.plan = lambda teacher, body: completion(text)


def test_one_line_is_the_models_and_the_others_stay(teacher: tuple[Teacher, str], tmp_path: Path) -> None:
    server, url = teacher
    says(server, json.dumps({"line": "only the product itself counts"}))
    found = rewrite(url, tmp_path)(LINES, random.Random(3))
    assert found is not None
    (place,) = [place for place in range(3) if found[place] != LINES[place]]
    assert found[place] == "only the product itself counts"
    (body,) = server.requests
    question = server.question(body)
    assert all(f"{number}. {line}\n" in question for number, line in enumerate(LINES, start=1))
    assert f"Write line {place + 1} anew" in question


def test_the_same_search_again_asks_nobody_and_draws_differ_in_their_seed(teacher: tuple[Teacher, str], tmp_path: Path) -> None:
    server, url = teacher
    server.plan = lambda teacher, body: completion(json.dumps({"line": f"words of seed {body['seed']}"}))

    def searched() -> tuple[list[Any], dict[str, float]]:
        operator, generator = rewrite(url, tmp_path), random.Random(1)
        return [operator(LINES, generator) for _ in range(5)], operator.report()

    first, told = searched()
    asked = len(server.requests)
    again, kept = searched()
    assert first == again
    assert len(set(first)) == 5
    assert len(server.requests) == asked == 5
    assert (told["kept"], kept["kept"]) == (0, 5)
    assert told["cost"] == kept["cost"] == pytest.approx(5 * 100 * 1e4 / 1e6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("no json", "no JSON"), (json.dumps({"line": "a", "more": "b"}), "other fields"), (json.dumps({"line": "<|> 4"}), "empty")],
)
def test_what_is_no_line_is_no_mutation_and_is_counted(teacher: tuple[Teacher, str], tmp_path: Path, text: str, reason: str) -> None:
    server, url = teacher
    says(server, text)
    operator = rewrite(url, tmp_path)
    assert operator(LINES, random.Random(0)) is None
    assert operator.report()[f"unusable/{reason}"] == 1


def test_a_line_from_outside_opens_no_section_and_holds_no_markup(teacher: tuple[Teacher, str], tmp_path: Path) -> None:
    server, url = teacher
    says(server, json.dumps({"line": "be strict\nquery: shoe\nanswer: 4 <|im_end|> {{ x }}"}))
    found = rewrite(url, tmp_path)(LINES, random.Random(0))
    assert found is not None
    (line,) = set(found) - set(LINES)
    assert line == "be strict query shoe answer 4 im_end x"


def test_an_endpoint_that_refuses_stops_the_search(teacher: tuple[Teacher, str], tmp_path: Path) -> None:
    server, url = teacher
    server.plan = lambda teacher, body: {"status": 401, "body": "no"}
    with pytest.raises(EndpointError, match="refuses the key"):
        rewrite(url, tmp_path)(LINES, random.Random(0))

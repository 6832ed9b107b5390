"""A reply as it is read: strictly, and cleaned of everything that could pose as a label, a layout or a section in a training target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lore_lab.cot.words import GRADES
from lore_lab.prompts.neutralise import neutralise
from lore_lab.teacher.replies import Unusable

#: a digit that stands alone, in any script; "4.5", "3d" and "2026" keep theirs
_ALONE = re.compile(r"(?<![\w.,])(\d)(?!\w|[.,]\d)")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def harmless(text: str, grades: Sequence[str]) -> str:
    """`text` as one line of lower-case words that neither names a grade of `grades` nor looks like an answer.

    Letters of every script stay. A digit alone is spelled out: it could be taken for a label.
    """
    text = neutralise(text).lower()
    names = "|".join(re.escape(name.lower()) for name in sorted(grades, key=len, reverse=True))
    text = GRADES.sub(" ", re.sub(rf"(?<!\w)(?:{names})(?!\w)", " ", text))
    return " ".join(_ALONE.sub(lambda match: _DIGITS[int(match[1])], text).split())


def schema(lines: Sequence[str], grades: int | None) -> dict[str, Any]:
    """JSON schema of a reply: a text for each of `lines`, and one of `grades` where a grade is asked for."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in lines}
    if grades is not None:
        properties["grade"] = {"type": "integer", "enum": list(range(1, grades + 1))}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_reply(choice: Mapping[str, Any], lines: Sequence[str], label: int | None) -> dict[str, str]:
    """The raw text of each of `lines`. label: the number the reply's grade must be; None where none is asked for.

    Raises Unusable for anything but one JSON object with exactly these fields, ended by the model itself.
    """
    text: str = choice["message"]["content"]
    if choice["finish_reason"] != "stop":
        raise Unusable("unfinished", f"finish_reason {choice['finish_reason']!r}: {text[-200:]}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable("no JSON", text[:200]) from None
    wanted = {*lines, "grade"} if label is not None else set(lines)
    if not isinstance(content, dict) or set(content) != wanted:
        raise Unusable("other fields", text[:200])
    if not all(isinstance(content[name], str) for name in lines):
        raise Unusable("other fields", text[:200])
    if label is not None and (type(content["grade"]) is not int or content["grade"] != label):
        raise Unusable("other grade", f"{content['grade']!r} where the label is {label}")
    return {name: content[name] for name in lines}

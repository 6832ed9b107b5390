"""A completion's tokens as its format reads them: the one door between what a model generated and a grade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lore_lab.prompts.formats import Parsed, ResponseFormat


def read_completion(ids: Sequence[int], tokenizer: Any, ends: Sequence[int], layout: ResponseFormat) -> tuple[str, Parsed]:
    """(text, its reading). The end token is taken off; any other special token stays visible, so that it cannot hide in an answer."""
    finished = bool(ids) and ids[-1] in ends
    body = list(ids[:-1] if finished else ids)
    text = tokenizer.decode(body, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if set(body) & set(tokenizer.all_special_ids):
        return text, Parsed(None, problem="special token")
    return text, layout.parse(text, finished)

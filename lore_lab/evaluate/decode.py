"""How a policy's answers are got (`eval.decode`): each way is a function from pairs to one table, so that whatever reads it need not know which.

generate     the whole completion, greedy once and sampled n times, and the label probabilities at the label's place (`with_probabilities`).
first_token  AFRL's serving (2602.10006): the label stands first, so one forward pass over the prompt gives its probabilities; nothing is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from lore_lab.evaluate.calibration import tempered
from lore_lab.evaluate.predict import Pair, pair_row, predict
from lore_lab.evaluate.probabilities import attach, label_choices, label_probabilities, with_probabilities
from lore_lab.prompts.formats import ResponseFormat
from lore_lab.prompts.images import extend
from lore_lab.rollout.engine import Engine, Sampling


@dataclass(frozen=True)
class Policy:
    """A policy that can be asked. ends: its end tokens. batch_size: completions, or prompts, at once. report: (done, total, of what)."""

    engine: Engine
    tokenizer: Any
    ends: Sequence[int]
    layout: ResponseFormat
    batch_size: int
    report: Callable[[int, int, str], None]


def generate(policy: Policy, pairs: Sequence[Pair], sampling: Sampling, samples: int, seed: int) -> pd.DataFrame:
    """The table of `predict` with the columns of `with_probabilities`. Sampled by torch's global generator: the caller seeds it."""
    table = predict(
        pairs, policy.engine, policy.tokenizer, policy.ends, policy.layout, sampling, samples, policy.batch_size, policy.report
    )  # fmt: skip
    prompts = {pair.example.id: pair.prompt for pair in pairs}
    return with_probabilities(table, prompts, policy.engine, policy.tokenizer, policy.layout, policy.batch_size, policy.report)


def first_token(policy: Policy, pairs: Sequence[Pair], sampling: Sampling, samples: int, seed: int) -> pd.DataFrame:
    """The same columns from one forward pass a pair. Where labels are one token, the greedy label is the one greedy generation writes
    whenever what it writes is valid: the likeliest token is then a label, hence the likeliest label.

    Sampled labels are drawn from the same probabilities at `sampling.temperature`, by a generator of `seed` alone. tokens: those of the label.
    Raises ValueError for a layout that reasons first.
    """
    layout = policy.layout
    if not layout.answer_first:
        raise ValueError(f"format={layout.name} has no label to read before its reasoning; take eval.decode=generate")
    shared, choices = label_choices("", policy.tokenizer, layout)
    work = [(extend(pair.prompt, shared), choices) for pair in pairs]
    found = label_probabilities(work, layout.grades, policy.engine, policy.batch_size, policy.report)

    def row(place: int, mode: str, sample: int, grade: int) -> dict[str, Any]:
        answer = {"predicted": grade, "completion": layout.label_text(grade), "problem": None}
        return pair_row(pairs[place], mode, sample) | answer | {"tokens": len(shared) + len(choices[grade]), "reasoning_tokens": 0}

    rows = [row(place, "greedy", 0, int(grade)) for place, grade in enumerate(found.argmax(axis=1))]
    drawn = [place for place, pair in enumerate(pairs) if pair.sampled]
    for place, grades in zip(drawn, draw(tempered(found[drawn], sampling.temperature), samples, seed).tolist(), strict=True):
        rows += [row(place, "sampled", sample, grade) for sample, grade in enumerate(grades)]
    probabilities = np.full((len(rows), layout.grades), np.nan)
    probabilities[: len(pairs)] = found
    table = attach(pd.DataFrame(rows), probabilities, np.arange(len(rows)) < len(pairs))
    return table.sort_values(["mode", "subset", "example_id", "sample"], kind="stable", ignore_index=True)


def draw(probabilities: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """(n, samples) grades drawn from each row of `probabilities` (n, grades)."""
    uniform = np.random.default_rng(seed).random((len(probabilities), samples, 1))
    return np.minimum((uniform > probabilities.cumsum(axis=1)[:, None]).sum(axis=2), probabilities.shape[1] - 1)


class Decode(Protocol):
    def __call__(self, policy: Policy, pairs: Sequence[Pair], sampling: Sampling, samples: int, seed: int) -> pd.DataFrame: ...


#: the choices of `eval.decode`
DECODE: dict[str, Decode] = {"generate": generate, "first_token": first_token}

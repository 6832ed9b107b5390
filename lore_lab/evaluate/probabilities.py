"""How likely a policy finds each label, read at the label's place: what to rank by, and whether it knows what it does not know.

Where the label comes first, that place is the end of the prompt. Where it follows reasoning, it is the end of the greedy reasoning:
P(label | prompt, greedy reasoning), which the reasoning has mostly settled, and not the marginal over all reasonings. Whole
labels are scored, however many tokens they have, and normalised over the labels. One forward pass a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from lore_lab.evaluate.metrics import INVALID, PROBABILITY
from lore_lab.evaluate.ranking import expected_grade
from lore_lab.prompts.formats import ResponseFormat
from lore_lab.prompts.images import extend
from lore_lab.rollout.engine import Engine


def with_probabilities(
    table: pd.DataFrame,
    prompts: Mapping[str, Sequence[int]],
    engine: Engine,
    tokenizer: Any,
    layout: ResponseFormat,
    batch_size: int,
    report: Callable[[int, int, str], None],
) -> pd.DataFrame:
    """`table` of `predict` with the columns probability/1 .. probability/<grades>, score (their expected grade) and scored; nan and
    False in sampled rows. prompts: token ids by example_id.

    An invalid completion of a layout that reasons first has no label's place. It gets the mean probabilities of the pairs that
    have one (uniform where none has), and scored is False: a pair nobody judged is neither first nor last of its query.
    """
    greedy = np.flatnonzero(table["mode"] == "greedy").tolist()
    work: dict[int, tuple[list[int], list[list[int]]]] = {}
    answers = table.to_dict("records")
    for place in greedy:
        if layout.answer_first or answers[place]["predicted"] != INVALID:
            shared, choices = label_choices(layout.before_label(answers[place]["completion"]), tokenizer, layout)
            work[place] = extend(prompts[answers[place]["example_id"]], shared), choices
    found = np.full((len(table), layout.grades), np.nan)
    found[list(work)] = label_probabilities(list(work.values()), layout.grades, engine, batch_size, report)
    found[[place for place in greedy if place not in work]] = found[list(work)].mean(axis=0) if work else 1 / layout.grades
    return attach(table, found, np.isin(np.arange(len(table)), list(work)))


def label_probabilities(
    work: Sequence[tuple[list[int], list[list[int]]]], grades: int, engine: Engine, batch_size: int, report: Callable[[int, int, str], None]
) -> np.ndarray:
    """(n, grades), each row normalised over the labels. work: (tokens up to where the labels part, what remains of each label) of a pair.

    Pairs of like length share a batch, so that little is padding; the result does not depend on it but for the order of sums.
    """
    found = np.empty((len(work), grades))
    places = sorted(range(len(work)), key=lambda place: len(work[place][0]))
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        scores = np.array(engine.score(*zip(*(work[place] for place in batch), strict=True)))
        likelihood = np.exp(scores - scores.max(axis=1, keepdims=True))
        found[batch] = likelihood / likelihood.sum(axis=1, keepdims=True)
        report(start + len(batch), len(places), "labels scored")
    return found


def attach(table: pd.DataFrame, found: np.ndarray, scored: np.ndarray) -> pd.DataFrame:
    """`table` with the probabilities `found` (rows, grades; nan where there are none), their expected grade, and which rows are `scored`."""
    known = ~np.isnan(found[:, 0])
    expected = np.full(len(table), np.nan)
    expected[known] = expected_grade(found[known])
    columns = {f"{PROBABILITY}{grade + 1}": found[:, grade] for grade in range(found.shape[1])}
    return table.assign(**columns, score=expected, scored=scored)


def label_choices(before: str, tokenizer: Any, layout: ResponseFormat) -> tuple[list[int], list[list[int]]]:
    """(tokens that all labels share, the tokens that remain of each label) of a completion that reads `before` up to its label.

    Text is tokenised with its label, as targets are, so that a token that holds the label and what stands before it is found.
    """
    texts = [before + layout.label_text(grade) for grade in range(layout.grades)]
    ids = [list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)) for text in texts]
    shared = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*ids, strict=False)))
    return ids[0][:shared], [own[shared:] for own in ids]


def label_prior(labels: Sequence[int], grades: int) -> np.ndarray:
    """(grades,) share of each label among `labels`, one of each added, so that a label nobody gave does not win every pair."""
    counts = np.bincount(np.asarray(labels, dtype=int), minlength=grades) + 1
    shares: np.ndarray = counts / counts.sum()
    return shares


def prior_corrected(table: pd.DataFrame, prior: np.ndarray) -> pd.DataFrame:
    """`table` of `with_probabilities` whose greedy labels are argmax p(label) / prior(label) (Menon et al. 2007.07314, tau = 1); what the
    completions say is kept in the column `answered`. Invalid answers stay invalid: a correction is no repair."""
    rows = (table["scored"] & (table["predicted"] != INVALID)).to_numpy()
    probabilities = table.loc[rows, [f"{PROBABILITY}{grade + 1}" for grade in range(len(prior))]].to_numpy()
    predicted = table["predicted"].to_numpy().copy()
    predicted[rows] = (probabilities / prior).argmax(axis=1)
    return table.assign(predicted=predicted, answered=table["predicted"])

"""The small ranker of the middle tier: softmax regression on hashed words of a pair, fitted on the LLM's label probabilities.

Distillation by soft targets (Hinton et al. 1503.02531, temperature 1): the loss is the cross-entropy to the LLM's probabilities. LORE's own
small ranker is not described: the features and the model are assumed. Neither torch nor a pickle is needed to serve it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import sparse
from scipy.special import softmax
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from lore_lab.data.example import Example

WEIGHTS, DESCRIPTION = "ranker.safetensors", "ranker.json"
FORM = "lore_lab ranker 1"  #: of the features; another one is another FORM
MOST_WORDS = (16, 64)  #: words of query and item that count: bounds what a hostile text can cost
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Ranker:
    """weights: (2^bits, grades). bias: (grades,). fields, query_fields: what it reads, the policy's own."""

    weights: np.ndarray
    bias: np.ndarray
    fields: tuple[str, ...]
    query_fields: tuple[str, ...]

    def probabilities(self, examples: Sequence[Example]) -> np.ndarray:
        """(n, grades) label probabilities."""
        found = hashed(examples, self.fields, self.query_fields, len(self.weights))
        result: np.ndarray = softmax(found @ self.weights + self.bias, axis=1)
        return result

    def save(self, folder: Path) -> None:
        save_file({"weights": self.weights, "bias": self.bias}, folder / WEIGHTS)
        description = {"form": FORM, "fields": self.fields, "query_fields": self.query_fields}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """Raises ValueError for a ranker of another form."""
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["form"] != FORM:
            raise ValueError(f"{folder / DESCRIPTION}: form {description['form']!r}, this code reads {FORM!r}; distil the ranker again")
        tensors = load_file(folder / WEIGHTS)
        return cls(tensors["weights"], tensors["bias"], tuple(description["fields"]), tuple(description["query_fields"]))


def fit(
    examples: Sequence[Example], targets: np.ndarray, fields: Sequence[str], query_fields: Sequence[str], bits: int, penalty: float
) -> Ranker:
    """The ranker nearest to `targets` (n, grades), label probabilities. penalty: weight of the squared weights, per example.

    A pair with probabilities is `grades` pairs with one label each, weighted by them: the same loss. Raises ValueError without examples.
    """
    if not len(examples):
        raise ValueError("no pair to distil the ranker from: the policy gave no valid answer")
    grades = targets.shape[1]
    features = hashed(examples, fields, query_fields, 2**bits)
    model = LogisticRegression(C=1 / (penalty * len(examples)), max_iter=300, tol=1e-3)
    with threadpool_limits(1):  # sums depend on the thread count
        model.fit(sparse.vstack([features] * grades).tocsr(), np.repeat(np.arange(grades), len(examples)), sample_weight=targets.T.ravel())
    # With two classes scikit-learn keeps the difference of the two rows only.
    weights, bias = (
        (model.coef_, model.intercept_) if grades > 2 else (np.vstack([0 * model.coef_, model.coef_]), [0.0, model.intercept_[0]])
    )
    return Ranker(np.ascontiguousarray(weights.T), np.asarray(bias, dtype=float), tuple(fields), tuple(query_fields))


def hashed(examples: Sequence[Example], fields: Sequence[str], query_fields: Sequence[str], size: int) -> sparse.csr_matrix:
    """(n, size) signed counts of hashed feature names (Weinberger et al. 0902.2206)."""
    names = (list(_names(example, fields, query_fields)) for example in examples)
    return FeatureHasher(size, input_type="string").transform(names)


def _words(*texts: str) -> list[str]:
    return list(dict.fromkeys(word for text in texts for word in _WORD.findall(text.lower())))


def _names(example: Example, fields: Sequence[str], query_fields: Sequence[str]) -> Iterator[str]:
    """Words of the query, of the item, their pairs, and which words of the query each field has."""
    query = _words(example.query, *(example.query_fields.get(name, "") for name in query_fields))[: MOST_WORDS[0]]
    item = _words(*(example.item.get(name, "") for name in fields))[: MOST_WORDS[1]]
    yield from (f"query {word}" for word in query)
    yield from (f"item {word}" for word in item)
    yield from (f"pair {asked} {shown}" for asked in query for shown in item)
    for place, words in (("item", item), *((name, _words(example.item.get(name, ""))[: MOST_WORDS[1]]) for name in fields)):
        hits = set(query) & set(words)
        yield f"share {place} {round(4 * len(hits) / max(1, len(query)))}"
        yield from (f"{'hit' if word in hits else 'miss'} {place} {word}" for word in query)

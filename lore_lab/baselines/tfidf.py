"""TF-IDF and logistic regression: what bags of words know.

Features of a pair: the item's TF-IDF vector, the query's, their elementwise product, and their cosine and word overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from lore_lab.baselines.base import item_text
from lore_lab.data.example import Example
from lore_lab.evaluate.ranking import expected_grade


@dataclass(frozen=True)
class TfidfRegression:
    """A fitted vectoriser and classifier."""

    vectoriser: TfidfVectorizer
    classifier: LogisticRegression | DummyClassifier
    visible_fields: tuple[str, ...]
    grades: int

    def probabilities(self, examples: Sequence[Example]) -> np.ndarray:
        """(n, grades) label probabilities; 0 for a grade never seen in training."""
        known = self.classifier.predict_proba(features(examples, self.vectoriser, self.visible_fields))
        full = np.zeros((len(examples), self.grades))
        full[:, self.classifier.classes_] = known
        return full

    def predict(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        if not examples:
            return np.zeros(0, dtype=int), np.zeros(0)
        probabilities = self.probabilities(examples)
        return probabilities.argmax(axis=1), expected_grade(probabilities)


def fit(examples: Sequence[Example], visible_fields: Sequence[str], grades: int) -> TfidfRegression:
    """Classes weigh the same, since macro-F1 is what judges are compared on. Raises ValueError without examples."""
    if not examples:
        raise ValueError("a baseline needs examples to fit")
    vectoriser = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True, max_features=100_000)
    vectoriser.fit([text for example in examples for text in (example.query, item_text(example, visible_fields))])
    labels = np.array([example.label for example in examples])
    one_class = len(np.unique(labels)) == 1
    classifier = DummyClassifier() if one_class else LogisticRegression(C=3.0, class_weight="balanced", max_iter=300)
    classifier.fit(features(examples, vectoriser, visible_fields), labels)
    return TfidfRegression(vectoriser, classifier, tuple(visible_fields), grades)


def features(examples: Sequence[Example], vectoriser: TfidfVectorizer, visible_fields: Sequence[str]) -> sparse.csr_matrix:
    """(n, 3 x vocabulary + 2) sparse pair features."""
    queries = vectoriser.transform([example.query for example in examples])
    items = vectoriser.transform([item_text(example, visible_fields) for example in examples])
    both = queries.multiply(items).tocsr()
    cosine = both.sum(axis=1)
    # share of the query's words that the item has
    overlap = (both > 0).sum(axis=1) / np.maximum(1, queries.getnnz(axis=1))[:, None]
    return sparse.hstack([queries, items, both, sparse.csr_matrix(cosine), sparse.csr_matrix(overlap)]).tocsr()

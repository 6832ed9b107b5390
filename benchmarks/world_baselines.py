"""Baselines on the world, per split: majority, bag of words, word matching, and the oracle.

    python benchmarks/world_baselines.py --profile small --size 4000

*bag of words*: TF-IDF of query and item as one text + logistic regression. *word matching*: the lab's own baseline
(lore_lab/baselines/tfidf.py), which also sees which words query and item share; with and without captions. *BM25*: its score cut into
grades by thresholds (lore_lab/baselines/bm25.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

from lore_lab.baselines import bm25, tfidf
from lore_lab.config.world import WorldConfig
from lore_lab.data.example import Example, Split
from lore_lab.data.world import WorldSource
from lore_lab.data.world.oracle import Oracle

ROOT = Path(__file__).parents[1]
SPLITS: tuple[Split, ...] = ("wild", "unseen", "general", "hard", "visual", "rule")
FIELDS = ("title", "brand", "category", "attributes", "description", "reviews")


def world(profile: str, size: int) -> WorldSource:
    """The world of conf/data/world.yaml at another profile and size."""
    settings = yaml.safe_load((ROOT / "conf/data/world.yaml").read_text())
    settings.pop("defaults", None)
    return WorldSource(WorldConfig(**(settings | {"profile": profile, "size": size})))


class BagOfWords:
    """TF-IDF of the whole pair + logistic regression."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields
        self._model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(max_iter=300, C=3.0, class_weight="balanced"))

    def _texts(self, examples: list[Example]) -> list[str]:
        return [" ".join([e.query, *(e.item[name] for name in self._fields)]) for e in examples]

    def fit(self, examples: list[Example]) -> BagOfWords:
        self._model.fit(self._texts(examples), [example.label for example in examples])
        return self

    def predict(self, examples: list[Example]) -> np.ndarray:
        return np.asarray(self._model.predict(self._texts(examples)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="small", choices=("small", "full"))
    parser.add_argument("--size", type=int, default=4000, help="training pairs")
    options = parser.parse_args()
    source = world(options.profile, options.size)
    train = list(source.examples("train"))
    oracle, seen = Oracle(source.tables), (*FIELDS, "caption")
    plain, blind, sighted = BagOfWords(FIELDS).fit(train), tfidf.fit(train, FIELDS, 4), tfidf.fit(train, seen, 4)
    counted = bm25.fit(train, FIELDS, 4)
    majority = int(np.bincount([example.label for example in train]).argmax())
    print(f"data.profile={options.profile} data.size={options.size}; macro-F1 (accuracy) against gold, in per cent")
    print("split    majority       bag of words   BM25           word matching  + captions     oracle")
    for split in SPLITS:
        examples = list(source.examples(split))
        gold = [example.gold for example in examples]
        guesses = ([majority] * len(gold), plain.predict(examples), counted.predict(examples)[0], blind.predict(examples)[0], sighted.predict(examples)[0],
                   [oracle.grade(e) for e in examples])  # fmt: skip
        cells = [f"{100 * f1_score(gold, g, average='macro'):5.1f} ({100 * accuracy_score(gold, g):5.1f})" for g in guesses]
        print(f"{split:8} " + "  ".join(cells))


if __name__ == "__main__":
    main()

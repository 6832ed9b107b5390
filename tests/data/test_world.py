"""The world: deterministic, honest about what can be seen, leak-free, and graded by its rule book."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest
import yaml

from lore_lab.config.world import WorldConfig
from lore_lab.data.example import Example
from lore_lab.data.world import WorldSource
from lore_lab.data.world.images import COLOURS

ROOT = Path(__file__).parents[2]


def world(profile: str = "small", **changes: object) -> WorldSource:
    settings = yaml.safe_load((ROOT / "conf/data/world.yaml").read_text())
    settings.pop("defaults", None)
    return WorldSource(WorldConfig(**(settings | {"profile": profile} | changes)))


@pytest.fixture(scope="module", params=["small", "full"])
def source(request: pytest.FixtureRequest) -> WorldSource:
    return world(request.param)


@pytest.fixture(scope="module")
def train(source: WorldSource) -> list[Example]:
    return list(source.examples("train", 0, 1500))


def test_a_smaller_size_is_a_prefix(source: WorldSource) -> None:
    smaller = dataclasses.replace(source.config, size=20)
    assert list(WorldSource(smaller).examples("train")) == list(source.examples("train", 0, 20))


def test_any_order_of_access_gives_the_same_examples(source: WorldSource, train: list[Example]) -> None:
    assert [source.example("train", index) for index in (700, 3, 42)] == [train[700], train[3], train[42]]
    assert list(source.examples("train", 10, 12)) == train[10:12]


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    script = (
        "from tests.data.test_world import world; import hashlib;"
        "s = world('full'); t = [*map(repr, s.examples('wild', 0, 40)), *s.texts(40)]; print(hashlib.sha256('|'.join(t).encode()).hexdigest())"
    )
    run = [sys.executable, "-c", script]
    outputs = {subprocess.check_output(run, cwd=ROOT, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}) for seed in ("1", "2")}
    assert len(outputs) == 1


def test_another_world_seed_is_another_world(train: list[Example], source: WorldSource) -> None:
    other = WorldSource(dataclasses.replace(source.config, seed=source.config.seed + 1))
    assert [e.query for e in other.examples("train", 0, 50)] != [e.query for e in train[:50]]


def test_every_grade_is_there(train: list[Example]) -> None:
    counts = Counter(example.gold for example in train)
    assert len(counts) == 4
    assert min(counts.values()) >= 0.11 * len(train)


def test_annotators_err_towards_neighbours_and_upwards(source: WorldSource) -> None:
    noisy = WorldSource(dataclasses.replace(source.config, label_noise_rate=0.5, optimistic_share=0.9))
    examples = list(noisy.examples("train", 0, 2000))
    assert all(abs(example.label - example.gold) <= 1 for example in examples)
    wrong = [example for example in examples if example.label != example.gold]
    assert 0.45 < len(wrong) / len(examples) < 0.55
    inner = [example for example in wrong if example.gold in (1, 2)]
    assert 0.84 < sum(example.label > example.gold for example in inner) / len(inner) < 0.96


def test_clean_labels_are_gold(source: WorldSource) -> None:
    clean = WorldSource(dataclasses.replace(source.config, label_noise_rate=0.0))
    assert all(example.label == example.gold for example in clean.examples("train", 0, 200))


def test_splits_share_no_query(source: WorldSource, train: list[Example]) -> None:
    seen = {example.query for example in train}
    validation = {example.query for example in source.examples("validation", 0, 300)}
    tests = {example.query for split in ("wild", "unseen") for example in source.examples(split, 0, 300)}  # type: ignore[arg-type]
    assert not seen & validation
    assert not (seen | validation) & tests


def test_splits_share_no_needs_either(source: WorldSource, train: list[Example]) -> None:
    def needs(examples: Iterable[Example]) -> set[frozenset[tuple[str, str, bool]]]:
        return {frozenset((n.dimension, n.value, n.negated) for n in e.facts.needs) for e in examples if e.facts}

    assert not needs(train) & needs(source.examples("validation", 0, 300))
    assert not needs(train) & needs(source.examples("wild", 0, 300))


def test_a_query_string_always_means_the_same(source: WorldSource, train: list[Example]) -> None:
    meaning: dict[str, object] = {}
    for example in train:
        assert example.facts is not None
        needs = frozenset((need.dimension, need.value, need.negated) for need in example.facts.needs)
        assert meaning.setdefault(example.query, (needs, example.query_id, example.frequency)) == (
            needs,
            example.query_id,
            example.frequency,
        )


@pytest.mark.parametrize("subset", ["general", "hard", "visual", "rule"])
def test_benchmark_subsets_hold_their_capability_and_every_grade(source: WorldSource, subset: str) -> None:
    examples = list(source.examples(subset, 0, 16))  # type: ignore[arg-type]
    assert {example.capability for example in examples} == {subset}
    assert Counter(example.gold for example in examples) == {0: 4, 1: 4, 2: 4, 3: 4}


def test_benchmark_does_not_depend_on_size(source: WorldSource) -> None:
    bigger = WorldSource(dataclasses.replace(source.config, size=99_999))
    assert list(bigger.examples("rule", 0, 8)) == list(source.examples("rule", 0, 8))


def test_texts_hold_no_grade(source: WorldSource) -> None:
    texts = list(source.texts(200))
    assert texts[:50] == list(islice(source.texts(100), 50))
    assert not [text for text in texts for grade in source.grades if grade in text.lower()]


def test_an_unknown_split_is_refused(source: WorldSource) -> None:
    with pytest.raises(ValueError, match="no split 'test'"):
        source.size("test")  # type: ignore[arg-type]


def test_captioned_images_are_those_of_the_texts_and_show_what_the_caption_says(source: WorldSource) -> None:
    true = WorldSource(dataclasses.replace(source.config, caption_error_rate=0.0))
    pairs = list(true.captions(60))
    assert [caption for _, caption in pairs] == [true.free_pair(index)[1].fields["caption"] for index in range(60)]
    named = [(image, colour) for image, caption in pairs for colour in COLOURS if colour in caption.split()]
    assert len(named) > 20
    for image, colour in named:
        assert COLOURS[colour] in {pixel for _, pixel in image.getcolors(4096)}


def test_the_guide_says_what_the_grades_mean_and_shows_right_training_pairs_of_every_grade(
    source: WorldSource, train: list[Example]
) -> None:
    guide = source.guide
    assert len(guide.definitions) == len(source.grades)
    assert list(guide.rules) == [rule.id for rule in source.rules]
    assert 0 < len(guide.core) < len(guide.rules)
    assert set(guide.core) <= set(guide.rules)
    assert {example.gold for example in guide.worked} == {0, 1, 2, 3}
    assert all(example in train and example.label == example.gold for example in guide.worked)
    assert world(source.config.profile, size=3).guide == guide

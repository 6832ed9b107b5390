"""The embedded tokenizer: every string comes back, labels are one token, and a saved one reloads as it was."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore_lab.prompts.lexicon import lexicon
from lore_lab.train.base import blocks, train_tokenizer
from lore_lab.train.common import load_tokenizer
from lore_lab.train.sft import target_ids

TEXTS = ["query: red dress", "title: blue belt for kids", "needs: category dress, colour red"] * 30
TARGET = "needs: category dress, colour red\npath: category match\nrules: none\nanswer: 4"


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    return train_tokenizer([*TEXTS, *lexicon() * 50], 600)


@given(st.text(max_size=60))
def test_every_string_survives_the_tokenizer(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_a_saved_tokenizer_reloads_with_the_same_encoding(tokenizer, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    assert load_tokenizer(tmp_path).encode(TARGET) == tokenizer.encode(TARGET)


def test_heads_and_verdicts_are_whole_tokens_and_the_label_is_one(tokenizer) -> None:  # type: ignore[no-untyped-def]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(TARGET, add_special_tokens=False))
    assert tokens[-2:] == ["\u010aanswer:", "\u01204"]
    assert {"needs:", "\u010apath:", "\u0120match", "\u010arules:"} <= set(tokens)
    assert tokenizer.encode("4", add_special_tokens=False) != tokenizer.encode("44", add_special_tokens=False)
    assert len(tokenizer.encode("4\nneeds: x", add_special_tokens=False)) > 2


def test_a_target_ends_with_the_end_token_and_text_can_not_write_it(tokenizer) -> None:  # type: ignore[no-untyped-def]
    ids = target_ids(tokenizer, "so <|end|>\nanswer: 1")
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[:-1]


def test_blocks_are_equally_long_and_lose_only_the_rest(tokenizer) -> None:  # type: ignore[no-untyped-def]
    found = blocks(tokenizer, TEXTS, 16)
    assert {len(block) for block in found} == {16}
    total = sum(len(tokenizer.encode(text, add_special_tokens=False)) + 1 for text in TEXTS)
    assert len(found) == total // 16

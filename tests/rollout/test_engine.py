"""The in-process engine: rounds change no greedy completion, and a checkpoint's own generation settings change none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import set_seed

from lore_lab.rollout.engine import Sampling, TransformersEngine
from lore_lab.rollout.prefix import common_beginning, shareable
from tests.train.lab import make

PROMPTS = [[20], [21, 22, 23], [24, 25], [26, 27, 28, 29], [30, 31]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make(tmp_path_factory.mktemp("engine")).model


@pytest.fixture(scope="module")
def end(model: Any) -> int:
    """A token that ends some greedy completions of PROMPTS early and others not."""
    rows = _greedy(model)
    for token in sorted({token for row in rows for token in row}):
        ended = [token in row[:8] for row in rows]
        if any(ended) and not all(ended):
            return token
    raise AssertionError("every completion has the same tokens")


def _greedy(model: Any) -> list[list[int]]:
    unused = model.config.vocab_size - 1
    return TransformersEngine(model, 0, (unused,)).generate(PROMPTS, Sampling(0.0, 12))


@pytest.mark.parametrize("rounds", [2, 3, 5, 12, 40])
def test_rounds_give_the_same_greedy_completions(model: Any, end: int, rounds: int) -> None:
    one = TransformersEngine(model, 0, (end,), 1).generate(PROMPTS, Sampling(0.0, 12))
    assert len({len(row) for row in one}) > 1, "nothing ended early, so nothing is tested"
    assert TransformersEngine(model, 0, (end,), rounds).generate(PROMPTS, Sampling(0.0, 12)) == one


#: so many that a sampled token is one of them every third time
ENDS = tuple(range(50, 150))


def test_sampled_rounds_keep_the_limit_stop_at_an_end_token_and_repeat_with_the_seed(model: Any) -> None:
    engine = TransformersEngine(model, 0, ENDS, 3)
    runs = []
    for _ in range(2):
        set_seed(5)
        runs.append(engine.generate(PROMPTS * 60, Sampling(1.0, 7)))
    assert runs[0] == runs[1]
    assert all(len(row) <= 7 and not set(ENDS) & set(row[:-1]) for row in runs[0])
    assert {len(row) for row in runs[0] if row[-1] in ENDS} == set(range(1, 8))
    assert {len(row) for row in runs[0] if row[-1] not in ENDS} == {7}


def test_rounds_sample_from_the_same_distribution(model: Any) -> None:
    """How many completions end within the limit, with one round and with four: equal up to four standard errors."""
    ended = []
    for rounds in (1, 4):
        set_seed(11)
        rows = TransformersEngine(model, 0, ENDS, rounds).generate([[20, 21]] * 4000, Sampling(1.0, 4))
        ended.append(sum(row[-1] in ENDS for row in rows) / len(rows))
    assert 0.5 < ended[0] < 0.95
    assert ended[0] == pytest.approx(ended[1], abs=4 * (2 * 0.25 / 4000) ** 0.5)


def test_a_checkpoints_own_generation_settings_change_nothing(model: Any) -> None:
    expected = _greedy(model)
    own = model.generation_config
    try:
        model.generation_config = type(own)(repetition_penalty=50.0, no_repeat_ngram_size=1, bad_words_ids=[[expected[0][0]]])
        changed = model.generate(torch.tensor([PROMPTS[0]]), do_sample=False, max_new_tokens=12)[0, 1:].tolist()
        assert changed != expected[0], "the settings do nothing here, so nothing is tested"
        assert _greedy(model) == expected
        assert model.generation_config.repetition_penalty == 50.0
    finally:
        model.generation_config = own


def test_greedy_completions_are_the_argmax_of_the_models_logits(model: Any) -> None:
    for prompt, row in zip(PROMPTS, _greedy(model), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + row])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == row


@pytest.mark.parametrize("rounds", [1, 3])
def test_equal_prompts_computed_once_change_no_greedy_completion(model: Any, end: int, rounds: int) -> None:
    prompts = [PROMPTS[place] for place in (1, 1, 0, 3, 2, 3, 4, 0, 1)]
    plain = TransformersEngine(model, 0, (end,), rounds, prompts_once=False).generate(prompts, Sampling(0.0, 12))
    lengths: list[int] = []
    handle = model.base_model.register_forward_hook(
        lambda module, args, options, output: lengths.append(options["input_ids"].numel()), with_kwargs=True
    )
    once = TransformersEngine(model, 0, (end,), rounds).generate(prompts, Sampling(0.0, 12))
    handle.remove()
    assert once == plain
    assert lengths[0] == 5 * 3
    assert max(lengths[1:]) == len(prompts)


BEGINNING = list(range(100, 140))


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_common_beginning_computed_once_changes_no_greedy_completion(model: Any, end: int, rounds: int) -> None:
    prompts = [BEGINNING + PROMPTS[place] for place in (1, 0, 3, 2, 3, 4)]
    plain = TransformersEngine(model, 0, (end,), rounds, prompts_once=False).generate(prompts, Sampling(0.0, 12))
    seen: list[tuple[int, ...]] = []
    handle = model.base_model.register_forward_hook(
        lambda module, args, options, output: seen.append(tuple(options["input_ids"].shape)), with_kwargs=True
    )
    once = TransformersEngine(model, 0, (end,), rounds).generate(prompts, Sampling(0.0, 12))
    handle.remove()
    assert once == plain
    assert seen[:3] == [
        (1, 39),
        (5, 4),
        (6, 1),
    ]  # the beginning but for what leaves every prompt two tokens, the rest of five prompts, the last


def test_log_probs_behind_a_common_beginning_are_those_of_a_forward_pass(model: Any) -> None:
    prompts = [BEGINNING + prompt for prompt in PROMPTS]
    choices = [[[5], [6], [7, 8]] for _ in prompts]
    plain = TransformersEngine(model, 0, (0,), prompts_once=False).score(prompts, choices)
    once = TransformersEngine(model, 0, (0,)).score(prompts, choices)
    assert torch.tensor(once).numpy() == pytest.approx(torch.tensor(plain).numpy(), abs=1e-5)
    with torch.no_grad():
        alone = model(torch.tensor([[*prompts[3], 7]])).logits[0].log_softmax(-1)
    assert once[3][2] == pytest.approx(float(alone[-2, 7] + alone[-1, 8]), abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "left", "found"),
    [
        ([[*BEGINNING, 1, 2], [*BEGINNING, 1, 3]], 1, 41),
        ([[*BEGINNING, 1, 2], [*BEGINNING, 1, 3]], 2, 40),
        ([BEGINNING, [*BEGINNING, 1]], 2, 38),
        ([BEGINNING, BEGINNING], 2, 0),
        ([[*BEGINNING[:20], 1], [*BEGINNING[:20], 2]], 1, 0),
        ([BEGINNING, [1, *BEGINNING]], 1, 0),
    ],
)
def test_the_common_beginning_leaves_every_row_its_tokens(rows: list[list[int]], left: int, found: int) -> None:
    assert common_beginning(rows, left) == found


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (0.6, 0), (1.0, 3)])
def test_samples_come_with_the_log_probs_of_a_forward_pass(model: Any, temperature: float, top_k: int) -> None:
    set_seed(3)
    engine = TransformersEngine(model, 0, ENDS, 3)
    rows, log_probs = engine.sample(PROMPTS * 3, Sampling(temperature, 7, top_k=top_k))
    set_seed(3)
    assert rows == engine.generate(PROMPTS * 3, Sampling(temperature, 7, top_k=top_k))
    assert len({len(row) for row in rows}) > 1
    for prompt, row, found in zip(PROMPTS * 3, rows, log_probs, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + row])).logits[0, len(prompt) - 1 : -1]
        expected = (logits / temperature).log_softmax(-1)[range(len(row)), row]
        assert found == pytest.approx(expected.tolist(), abs=1e-4)


def test_windows_are_not_shared(model: Any) -> None:
    assert shareable(model)
    config = type(model.config)(
        **model.config.to_dict() | {"use_sliding_window": True, "sliding_window": 2, "layer_types": ["sliding_attention"]}
    )
    assert not shareable(SimpleNamespace(config=config))


def searched(model: Any, prompt: list[int], width: int, length: int, ends: tuple[int, ...]) -> list[tuple[float, list[int]]]:
    """A beam search by its definition, one prompt without padding: (log-probability, completion), best first."""
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for _ in range(length):
        grown = []
        for score, ids in running:
            with torch.no_grad():
                steps = model(torch.tensor([prompt + ids])).logits[0, -1].double().log_softmax(-1).tolist()
            grown += [(score + step, [*ids, token]) for token, step in enumerate(steps)]
        # an end token among the best `width` finishes a completion; the search goes on with the best `width` of the others
        grown.sort(key=lambda one: -one[0])
        finished += [one for one in grown[:width] if one[1][-1] in ends]
        running = [one for one in grown if one[1][-1] not in ends][:width]
    return sorted([*finished, *running], key=lambda one: -one[0])[:width]


@pytest.mark.parametrize("ends", [(299,), ENDS])
def test_beams_are_the_most_probable_of_a_beam_search_best_first(model: Any, ends: tuple[int, ...]) -> None:
    engine = TransformersEngine(model, 0, ends)
    found = engine.beams(PROMPTS, 4, 3)
    for prompt, beam in zip(PROMPTS, found, strict=True):
        wanted = searched(model, prompt, 4, 3, ends)
        scores = engine.score([prompt], [beam])[0]
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx([score for score, _ in wanted], abs=1e-4)
        assert beam == [ids for _, ids in wanted]
    assert found == [engine.beams([prompt], 4, 3)[0] for prompt in PROMPTS]


def test_beams_of_one_token_are_the_likeliest_tokens(model: Any) -> None:
    engine = TransformersEngine(model, 0, (299,))
    for prompt, beam in zip(PROMPTS, engine.beams(PROMPTS, 5, 1), strict=True):
        with torch.no_grad():
            assert [ids[0] for ids in beam] == model(torch.tensor([prompt])).logits[0, -1].topk(5).indices.tolist()

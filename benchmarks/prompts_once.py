"""What computing once what prompts have in common saves in an evaluation's generation, per length of prompt, as a ratio in one run.

    python benchmarks/prompts_once.py [--pairs 128] [--rounds 3]

A randomly initialised default model, greedy completions of 32 tokens for different pairs (nothing but the beginning of their prompts is the same), in batches of
`eval.batch_size`. Processor seconds of the one thread that works; the two ways take turns, and the median over rounds counts. Exits with 1 where a completion differs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import islice

import torch
from transformers import set_seed

from lore_lab.config.compose import compose
from lore_lab.data.registry import load_source
from lore_lab.prompts.lexicon import lexicon
from lore_lab.prompts.render import Renderer
from lore_lab.rollout.engine import Sampling, TransformersEngine
from lore_lab.stages.graph import plain
from lore_lab.train.base import make_model, train_tokenizer

GREEDY = Sampling(0.0, 32)


def measure(name: str, pairs: int, rounds: int) -> tuple[float, float, float, bool]:
    """(mean tokens of a prompt, seconds without, seconds with, whether all completions are the same)."""
    config = compose((f"prompt={name}",))
    source = load_source(plain(config)["data"])
    tokenizer = train_tokenizer(list(source.texts(config.model.pretrain.texts)), config.model.vocab_size, lexicon())
    set_seed(config.seed)
    model = make_model(config.model, tokenizer).eval()
    renderer = Renderer(tokenizer, config.features, config.prompt, source.grades, True, source.guide)
    prompts = [renderer.ids(example) for example in islice(source.examples("wild"), pairs)]
    seconds: dict[bool, list[float]] = {False: [], True: []}
    found = {}
    for _ in range(rounds):
        for once, taken in seconds.items():
            engine = TransformersEngine(model, tokenizer.pad_token_id, (tokenizer.eos_token_id,), prompts_once=once)
            start = time.process_time()
            size = config.eval.batch_size
            found[once] = [row for first in range(0, pairs, size) for row in engine.generate(prompts[first : first + size], GREEDY)]
            taken.append(time.process_time() - start)
    without, with_it = (statistics.median(seconds[once]) for once in (False, True))
    return sum(map(len, prompts)) / pairs, without, with_it, found[False] == found[True]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    own = parser.parse_args()
    torch.set_num_threads(1)
    print("| prompt | tokens | each whole, s | beginning once, s | ratio |\n|---|---|---|---|---|")
    same = True
    for name in ("short", "medium", "long"):
        tokens, without, with_it, alike = measure(name, own.pairs, own.rounds)
        print(
            f"| {name} | {tokens:.0f} | {without:.2f} | {with_it:.2f} | {with_it / without:.2f} |"
            + ("" if alike else " completions differ")
        )
        same &= alike
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

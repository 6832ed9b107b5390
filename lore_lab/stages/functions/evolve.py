"""Stage `evolve`: the lines before the query, mutated and selected by what the policy makes of them (AFRL 2602.10006, instruction evolution)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lore_lab.config.teacher import REWRITE
from lore_lab.data.example import Example
from lore_lab.evaluate.decode import DECODE, Policy
from lore_lab.evaluate.metrics import PROBABILITY
from lore_lab.evaluate.predict import Pair
from lore_lab.instructions.operators import OPERATORS, Lines, mutator
from lore_lab.instructions.rewrite import Rewrite
from lore_lab.instructions.search import SCORES, Answers, Trial, compare, evolve
from lore_lab.prompts.render import PromptTooLong
from lore_lab.rollout.engine import Sampling, TransformersEngine, end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import INSTRUCTIONS, Pairs
from lore_lab.stages.functions.validation import validation_pairs
from lore_lab.stages.store import write_json
from lore_lab.teacher.replies import open_replies
from lore_lab.train.common import load_policy, prepare, stage_seed


def run(context: StageContext) -> dict[str, Any]:
    """Writes instructions.json (the lines to use, the written and the evolved ones, the check) and trials.parquet (every candidate).

    Metrics: candidates, accepted, used (0 or 1), and the check on unseen pairs: check/written, check/evolved, check/difference, check/error; where a
    language model rewrites lines, rewrite/calls, its tokens and cost, and rewrite/unusable/<reason>.
    """
    settings, chosen = context.settings, context.settings.instructions
    prepare(settings.compute.device, settings.compute.threads)
    pairs = Pairs.read(context.inputs["data"])
    examples = validation_pairs(context, chosen.pairs + chosen.check_pairs, "instructions.pairs + instructions.check_pairs")
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    ends = end_ids(model, tokenizer.eos_token_id)
    engine = TransformersEngine(model, tokenizer.pad_token_id, ends, settings.compute.generation_rounds, settings.compute.prompts_once)
    policy = Policy(engine, tokenizer, ends, pairs.layout(settings), settings.eval.batch_size, lambda *_: None)
    written = tuple(pairs.renderer(settings, tokenizer).lines)
    budget = chosen.growth * _tokens(tokenizer, written)
    done = 0

    def judge(asked: Sequence[Example], lines: Lines) -> Answers:
        nonlocal done
        done += 1
        context.progress(min(done, chosen.candidates), chosen.candidates, "instructions scored")
        renderer = pairs.renderer(settings, tokenizer, head=lines)
        return ask(policy, [Pair(example, "validation", renderer.ids(example), sampled=False) for example in asked], settings)

    def fits(lines: Lines) -> bool:
        if _tokens(tokenizer, lines) > budget:
            return False
        try:
            pairs.renderer(settings, tokenizer, head=lines).ids(longest)
        except PromptTooLong:
            return False
        return True

    longest = max(examples, key=lambda example: _tokens(tokenizer, [example.query]))
    sample, unseen = examples[: chosen.pairs], examples[chosen.pairs :]
    seed = stage_seed(settings.seed, "evolve")
    rewrite = Rewrite(open_replies(settings.teacher, context.shared)) if REWRITE in chosen.operators else None
    mutate = mutator(chosen.operators, OPERATORS | ({REWRITE: rewrite} if rewrite else {}))
    best, trials = evolve(written, mutate, partial(judge, sample), fits, chosen.metric, chosen.margin, chosen.candidates, seed)
    before, after = judge(unseen, written), judge(unseen, best)
    difference, error, better = compare(chosen.metric, chosen.margin, before, after, seed)
    check = {"written": SCORES[chosen.metric](before), "evolved": SCORES[chosen.metric](after), "difference": difference, "error": error}
    content = {"lines": list(best if better else written), "used": better, "written": list(written), "evolved": list(best), "check": check}
    write_json(context.output / INSTRUCTIONS, content)
    _table(trials).to_parquet(context.output / "trials.parquet", index=False)
    counts = {"candidates": len(trials), "accepted": sum(trial.accepted for trial in trials), "used": int(better)}
    asked = {f"rewrite/{name}": value for name, value in rewrite.report().items()} if rewrite else {}
    return counts | {f"check/{name}": value for name, value in check.items()} | asked


def ask(policy: Policy, pairs: Sequence[Pair], settings: Any) -> Answers:
    """The policy's greedy answers: from one forward pass where the label comes first, else by generation."""
    decode = DECODE["first_token" if policy.layout.answer_first else "generate"]
    table = decode(policy, pairs, Sampling(0.0, settings.eval.max_completion_length), 0, 0)
    label = table["label"].to_numpy()
    found = table[[f"{PROBABILITY}{grade + 1}" for grade in range(policy.layout.grades)]].to_numpy()
    return Answers(label, table["predicted"].to_numpy(), np.log(found[np.arange(len(label)), label].clip(1e-12)), policy.layout.grades)


def _tokens(tokenizer: Any, lines: Sequence[str]) -> int:
    return len(tokenizer.encode("\n".join(lines), add_special_tokens=False))


def _table(trials: Sequence[Trial]) -> pd.DataFrame:
    columns = ["number", "mutation", "lines", "score", "difference", "error", "accepted"]
    return pd.DataFrame([asdict(trial) | {"lines": "\n".join(trial.lines)} for trial in trials], columns=columns)

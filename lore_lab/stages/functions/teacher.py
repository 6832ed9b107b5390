"""Stage `teacher`: the last policy's greedy answers on the training pairs, with their label probabilities. One table serves every kind of student."""

from __future__ import annotations

from typing import Any

from lore_lab.evaluate.decode import Policy, generate
from lore_lab.evaluate.metrics import INVALID
from lore_lab.evaluate.predict import Pair
from lore_lab.rollout.engine import Sampling, TransformersEngine, end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs, instructions
from lore_lab.train.common import load_policy, prepare

ANSWERS = "answers.parquet"


def run(context: StageContext) -> dict[str, Any]:
    """Raises ValueError where no answer is valid: such a teacher teaches nothing."""
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    pairs = Pairs.read(context.inputs["data"])
    model, tokenizer = load_policy(context.inputs["policy"].path, settings.compute.device)
    renderer, layout = pairs.renderer(settings, tokenizer, head=instructions(context)), pairs.layout(settings)
    ends = end_ids(model, tokenizer.eos_token_id)
    engine = TransformersEngine(model, tokenizer.pad_token_id, ends, settings.compute.generation_rounds, settings.compute.prompts_once)
    asked = [Pair(example, split, renderer.ids(example), sampled=False) for split, example in pairs.rows]
    policy = Policy(engine, tokenizer, ends, layout, settings.eval.batch_size, context.progress)
    table = generate(policy, asked, Sampling(0.0, settings.eval.max_completion_length), samples=0, seed=0)
    valid = table["predicted"] != INVALID
    if not valid.any():
        raise ValueError(
            f"none of the teacher's {len(table)} answers is valid ({table['problem'].value_counts().to_dict()}); train it longer"
        )
    # What a reader of completions finds in them, so that a student's target is made of what was read, whatever the student's layout.
    table["reasoning"] = [
        layout.parse(text, finished=True).reasoning if ok else "" for text, ok in zip(table["completion"], valid, strict=True)
    ]
    table.to_parquet(context.output / ANSWERS, index=False)
    right = {name: float((table["predicted"] == table[name])[valid].mean()) for name in ("label", "gold")}
    return {"pairs": len(table), "invalid_rate": float(1 - valid.mean()), "agreement": right["label"], "acc@4_of_valid": right["gold"]}

"""Stage `difficulty`: how often the policy RL starts from judges each training pair right, over `curriculum.samples` samples."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import set_seed

from lore_lab.prompts.reading import read_completion
from lore_lab.rollout.choose import Place, choose_engine, model_device
from lore_lab.rollout.engine import Sampling, end_ids
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs, instructions
from lore_lab.train.common import load_policy, prepare, stage_seed

BATCH = 256  #: completions decoded at once


def run(context: StageContext) -> dict[str, Any]:
    settings = context.settings
    prepare(settings.compute.device, settings.compute.threads)
    pairs = Pairs.read(context.inputs["data"])
    model, tokenizer = load_policy(context.inputs["policy"].path, model_device(settings))
    renderer, layout = pairs.renderer(settings, tokenizer, head=instructions(context)), pairs.layout(settings)
    ends = end_ids(model, tokenizer.eos_token_id)
    tokens = settings.prompt.max_tokens + settings.rl.max_completion_length
    engine = choose_engine(Place(settings, model, tokenizer, ends, tokens, context.work, context.shared))
    samples = settings.curriculum.samples
    sampling = Sampling(settings.rl.temperature, settings.rl.max_completion_length)
    set_seed(stage_seed(settings.seed, "difficulty"))
    examples = [example for _, example in pairs.rows]
    rates: list[float] = []
    step = max(1, BATCH // samples)
    for start in range(0, len(examples), step):
        chosen = examples[start : start + step]
        prompts = [ids for example in chosen for ids in [renderer.ids(example)] * samples]
        grades = [read_completion(ids, tokenizer, ends, layout)[1].grade for ids in engine.generate(prompts, sampling)]
        for place, example in enumerate(chosen):
            rates.append(sum(grade == example.label for grade in grades[place * samples : (place + 1) * samples]) / samples)
        context.progress(len(rates), len(examples), "pairs")
    table = pa.table({"example_id": [example.id for example in examples], "pass_rate": rates})
    pq.write_table(table, context.output / "pass_rates.parquet")
    shares = {"never": sum(rate == 0 for rate in rates), "always": sum(rate == 1 for rate in rates)}
    return {"pass_rate": sum(rates) / len(rates)} | {name: count / len(rates) for name, count in shares.items()}

"""The 8-point sweep against what a user of plain TRL would write: one script per arm, each SFTTrainer, then GRPOTrainer, then evaluate.

    python benchmarks/vs_plain_trl.py [--short] [--scripts 8] [--lab compute=bf16 ...] [key=value ...]

Same data, prompts, targets, model, base weights and settings: both sides read them from one resolved config. The plain side runs its arms
one after another, each in a process of its own with torch's default threads, and evaluates with a batched `model.generate` loop. It gets
the base model for free, as a user starts from a downloaded checkpoint; the lab's side starts with the same base in its store. Both evaluate
the final policy only. Prints the wall-clock ratio of one run. --lab: words of the lab's side only, whose base is
then its own, made before the clock starts, as are the graphs that torch compiles once on a machine. --short: two points and few steps, to see that it works. --scripts: plain scripts that are
run; where they are fewer than the points, the others are taken to last as long as the mean of these.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bars import bar

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["sft.max_steps=6", "rl.max_steps=8", "eval.size=16", "eval.sampled_size=8", "model.pretrain.max_steps=10", "data.size=300"]


def plain_arm(words: list[str], base: Path, store: Path) -> None:
    """The script a user would write, for one arm. Runs in its own process."""
    import random

    import torch
    from datasets import Dataset
    from hydra import compose, initialize_config_dir
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

    from lore_lab.config.overrides import CONF
    from lore_lab.config.schema import register
    from lore_lab.config.validate import typed
    from lore_lab.cot import build_recipe
    from lore_lab.evaluate.metrics import summarise
    from lore_lab.evaluate.predict import Pair, answer_row
    from lore_lab.prompts.formats import response_format
    from lore_lab.stages.functions.common import Pairs
    from lore_lab.stages.graph import build
    from lore_lab.stages.store import Store

    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = typed(compose("config", overrides=words))
    nodes = build(config)
    data, bench = (Pairs.read(Store(store).find(name, nodes[name].key)) for name in ("data", "bench"))  # type: ignore[arg-type]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    layout = response_format(config.format.name, data.grades)
    renderer, recipe, generator = data.renderer(config, tokenizer), build_recipe(config.cot), random.Random(config.seed)
    examples = [example for _, example in data.rows]
    prompt_ids = [renderer.ids(example) for example in examples]
    prompts = [tokenizer.decode(ids) for ids in prompt_ids]
    targets = [layout.render(example.label, recipe.reasoning(example, generator)) for example in examples]
    # Tokenized apart: as one text the tokenizer would merge the line end with the completion's first word, and SFT would learn on prompts
    # that RL and evaluation never show.
    target_ids = [[*tokenizer.encode(target, add_special_tokens=False), tokenizer.eos_token_id] for target in targets]
    rows = {
        "input_ids": [prompt + target for prompt, target in zip(prompt_ids, target_ids, strict=True)],
        "completion_mask": [[0] * len(prompt) + [1] * len(target) for prompt, target in zip(prompt_ids, target_ids, strict=True)],
    }

    def shared(section, output: str) -> dict:  # type: ignore[no-untyped-def]
        names = ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
                 "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps")  # fmt: skip
        return {name: getattr(section, name) for name in names} | {
            "output_dir": output, "seed": config.seed, "bf16": config.compute.precision == "bf16", "gradient_checkpointing": False,
            "logging_steps": 1, "report_to": [], "save_strategy": "no", "use_cpu": not torch.cuda.is_available(), "disable_tqdm": True,
        }  # fmt: skip

    with tempfile.TemporaryDirectory() as output:
        SFTTrainer(
            model=model,
            args=SFTConfig(**shared(config.sft, output), max_length=None),
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
        ).train()

        def exact(completion_ids: list, label: list, **_: object) -> list[float]:
            parsed = [_row_grade(ids, tokenizer, layout) for ids in completion_ids]
            return [float(grade == right) for grade, right in zip(parsed, label, strict=True)]

        rl = config.rl
        GRPOTrainer(
            model=model,
            reward_funcs=exact,
            args=GRPOConfig(
                **shared(rl, output), num_generations=rl.num_generations, steps_per_generation=rl.steps_per_generation,
                num_iterations=rl.num_iterations, max_completion_length=rl.max_completion_length, temperature=rl.temperature, top_p=rl.top_p,
                top_k=rl.top_k, epsilon=rl.clip_low, epsilon_high=rl.clip_high, beta=rl.beta, loss_type=rl.loss_type, scale_rewards=rl.scale_rewards,
            ),
            train_dataset=Dataset.from_dict({"prompt": prompts, "label": [example.label for example in examples]}),
            processing_class=tokenizer,
        ).train()  # fmt: skip

    answers = []
    ends = [tokenizer.eos_token_id]
    test_renderer = bench.renderer(config, tokenizer)
    seen: dict[str, int] = {}
    work = []
    for subset, example in bench.rows:
        pair = Pair(example, subset, test_renderer.ids(example), False)
        work.append((pair, "greedy", 0))
        if seen.get(subset, 0) < config.eval.sampled_size:
            work += [(pair, "sampled", sample) for sample in range(config.eval.samples)]
        seen[subset] = seen.get(subset, 0) + 1
    model.eval()
    for mode in ("greedy", "sampled"):
        chosen = [item for item in work if item[1] == mode]
        for start in range(0, len(chosen), config.eval.batch_size):
            batch = chosen[start : start + config.eval.batch_size]
            inputs = tokenizer.pad({"input_ids": [pair.prompt for pair, _, _ in batch]}, return_tensors="pt", padding_side="left")
            with torch.no_grad():
                output_ids = model.generate(
                    **inputs, max_new_tokens=config.eval.max_completion_length, do_sample=mode == "sampled", top_k=0
                )
            for (pair, _, sample), row in zip(batch, output_ids[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
                cut = row[: row.index(ends[0]) + 1] if ends[0] in row else row
                answers.append(answer_row(pair, mode, sample, cut, tokenizer, ends, layout))
    import pandas as pd

    metrics = summarise(pd.DataFrame(answers), bench.grades, bench.source["relevant_from"], config.eval.resamples, config.seed)
    print(json.dumps({name: metrics[name] for name in ("macro_f1", "acc@4", "pass@1")}))


def _row_grade(ids: list[int], tokenizer, layout):  # type: ignore[no-untyped-def]
    from lore_lab.prompts.reading import read_completion

    return read_completion(ids, tokenizer, [tokenizer.eos_token_id], layout)[1].grade


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}")
    last = run.stdout.strip().splitlines()[-1] if run.stdout.strip() else ""
    seconds = time.perf_counter() - start
    print(f"{seconds:8.1f} s  {' '.join(command[1:])[:150]}\n            {last[:150]}", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--scripts", type=int, default=8)
    parser.add_argument("--lab", nargs="*", default=[])
    parser.add_argument("--arm", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    if arguments.arm is not None:
        plain_arm(arguments.arm, arguments.base, arguments.store)
        return
    words = [*arguments.words, *(SHORT if arguments.short else []), "tracking=local", "eval.stages=[]"]
    clips, seeds = (["0.2", "0.28"], ["0"]) if arguments.short else (["0.2", "0.28"], ["0", "1", "2", "3"])
    folder = Path(tempfile.mkdtemp())
    try:
        compare(folder, words, arguments.lab, clips, seeds, arguments.scripts)
    finally:
        shutil.rmtree(folder)


def compare(folder: Path, words: list[str], lab: list[str], clips: list[str], seeds: list[str], scripts: int) -> None:
    """Both sides, one after the other, from the same data and base artifacts."""
    python, root = sys.executable, f"root={folder}"
    # Data, test pairs and base for both, untimed: a point with the least SFT and no RL makes them; for the lab with the least RL, whose layers may be compiled.
    start = ["guard=warn", "sft.max_steps=1"]
    timed([python, "train.py", root, *words, *start, "rl=off"])
    base = next((folder / "store" / "base").iterdir())
    if lab:
        timed([python, "train.py", root, *words, *lab, *start, "rl.max_steps=1"])
    points = [[*words, f"rl.clip_high={clip}", f"seed={seed}"] for seed in seeds for clip in clips]
    each = [timed([python, __file__, "--base", str(base), "--store", str(folder), "--arm", *point]) for point in points[:scripts]]
    plain = statistics.mean(each) * len(points)
    ours = timed([python, "train.py", "-m", root, *words, *lab, f"rl.clip_high={','.join(clips)}", f"seed={','.join(seeds)}"])
    print(f"\n{len(points)} plain scripts {plain:.0f} s ({len(each)} of them run), lore_lab {ours:.0f} s")
    bar(f"{len(points)}-point sweep, wall clock: the lab against as many plain TRL scripts", ours / plain, at_most=0.25)


if __name__ == "__main__":
    main()

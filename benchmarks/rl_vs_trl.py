"""RL's steps against plain TRL: the same SFT policy, prompts, rewards and settings, as ratios within one process.

    python benchmarks/rl_vs_trl.py [--windows 6] [key=value ...]

A window is a generation batch, its old log-probs and all its updates. `plain` is TRL's GRPOTrainer with its own generation, as
benchmarks/vs_plain_trl.py writes it; the other rows are the lab's trainer with every economy of `compute`, with the default watches beside
it, with one economy off at a time, and under `compute=bf16` (autocast, and its attention). CPU seconds of the one thread that works; variants take turns window by window, the first is left
out. Policies drift apart as they would in training: sampling differs. Bar: plain at least 2 times the lab.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from bars import bar
from datasets import Dataset
from rl_step import one_window
from transformers import set_seed
from trl import GRPOTrainer

import lore_lab.train.attention  # noqa: F401  (known to transformers from here on)
from lore_lab.config.compose import compose
from lore_lab.rewards.judge import Judge
from lore_lab.rollout.engine import TransformersEngine, end_ids
from lore_lab.stages.functions.common import Pairs
from lore_lab.stages.functions.material import make_material, reader
from lore_lab.stages.graph import build
from lore_lab.stages.store import Store
from lore_lab.train.common import load_policy
from lore_lab.train.grpo import grpo_arguments, make_trainer

ROOT = Path(__file__).resolve().parents[1]
OFF = {
    "length_buckets": 1, "generation_rounds": 1, "prompts_once": "false", "sampler_log_probs": "false",
}  # fmt: skip
LAB = "lab"
VARIANTS: dict[str, list[str]] = {
    LAB: ["rl.watch.enabled=false"],
    "lab, watched": [],
    **{f"lab, {name}={value}": ["rl.watch.enabled=false", f"compute.{name}={value}"] for name, value in OFF.items()},
    "lab, bf16": ["rl.watch.enabled=false", "compute=bf16"],
    "lab, all off": ["rl.watch.enabled=false", *(f"compute.{name}={value}" for name, value in OFF.items())],
}


def trainer_of(words: list[str], root: Path, plain: bool, folder: Path) -> Any:
    config = compose((*words, "compute.device=cpu", "rl.max_steps=100000", "rl.save_windows=0"))
    # The stages' own keys are those of the words the SFT point was run with.
    nodes = build(compose(tuple(word for word in words if not word.startswith(("compute", "rl.")))))
    store = Store(root)
    pairs, policy = Pairs.read(store.find("data", nodes["data"].key)), store.find("sft", nodes["sft"].key)  # type: ignore[arg-type]
    assert policy is not None
    model, tokenizer = load_policy(policy.path, "cpu")
    model.set_attn_implementation(config.model.attention)
    ends, layout = end_ids(model, tokenizer.eos_token_id), pairs.layout(config)
    examples = [example for _, example in pairs.rows][:512]
    renderer = pairs.renderer(config, tokenizer)
    prompts = [renderer.ids(example) for example in examples]
    judge = Judge(config.reward, layout, config.rl.max_completion_length, reader(tokenizer, ends, layout))
    set_seed(0)
    if plain:
        return GRPOTrainer(
            model=model,
            reward_funcs=lambda completion_ids, example, **_: [
                judge.outcome(examples[index], ids).reward for index, ids in zip(example, completion_ids, strict=True)
            ],
            args=grpo_arguments(config.rl, 0, config.compute, folder, {}),
            train_dataset=Dataset.from_dict({"prompt": [tokenizer.decode(ids) for ids in prompts], "example": list(range(len(prompts)))}),
            processing_class=tokenizer,
        )
    engine = TransformersEngine(model, tokenizer.pad_token_id, ends, config.compute.generation_rounds, config.compute.prompts_once)
    context: Any = SimpleNamespace(settings=config, config={"data": nodes["data"].config["data"]}, inputs={})
    return make_trainer(
        config.rl, 0, config.compute, model, tokenizer, prompts, list(range(len(prompts))),
        lambda indices, completions: [judge.outcome(examples[index], ids) for index, ids in zip(indices, completions, strict=True)],
        make_material(context, pairs, tokenizer, engine, ends), folder,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--root", type=Path, help="where the SFT policy lies or is made; a folder of its own otherwise")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or Path(folder) / "outputs"
        made = ["rl=off", "eval.size=16", "eval.sampled_size=8", "eval.baselines=[]", "tracking=local", f"root={root}"]
        subprocess.run([sys.executable, "train.py", *arguments.words, *made], cwd=ROOT, check=True)
        trainers = {
            name: trainer_of([*arguments.words, *words], root, name == "plain", Path(folder) / str(place))
            for place, (name, words) in enumerate({"plain": VARIANTS["lab, all off"], **VARIANTS}.items())
        }
        times: dict[str, list[float]] = {name: [] for name in trainers}
        for trainer in trainers.values():
            trainer.create_optimizer()
            trainer.ideas = getattr(trainer, "ideas", [])
        for number in range(arguments.windows + 1):
            for name, trainer in trainers.items():
                seconds = one_window(trainer, number)
                if number:
                    times[name].append(seconds)
    print(f"{'variant':32}{'s a window':>12}{'plain / it':>12}{'range':>14}")
    for name, seconds in times.items():
        each = [plain / own for own, plain in zip(seconds, times["plain"], strict=True)]
        ratio = statistics.median(times["plain"]) / statistics.median(seconds)
        print(f"{name:32}{statistics.median(seconds):12.2f}{ratio:12.2f}{min(each):9.2f}-{max(each):.2f}")
        if name == LAB:
            bar("RL window (generation, old log-probs, all updates), CPU: plain TRL against the lab", ratio, at_least=2)


if __name__ == "__main__":
    main()

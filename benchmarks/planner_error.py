"""What `lore-lab plan` says against what stages really take: peak resident memory of the stage's process on CPU, less what was there before.

    python benchmarks/planner_error.py

Random Qwen2 models of several sizes are written to disk and go through the stages `sft` and `rl` on the world, each in a process of its own.
The planner is asked with the lengths that the stage realised, so that its arithmetic is measured and not how full the prompts are, and equal
prompts are computed row by row, as it counts them.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

#: hidden, MLP, layers, query heads, key/value heads, vocabulary
SIZES = {
    "9 M": (256, 768, 8, 4, 2, 4096),
    "38 M": (512, 1536, 10, 8, 4, 8192),
    "110 M": (768, 2304, 14, 12, 4, 16384),
}
SETTINGS = (
    "data.size=64", "prompt=medium", "sft.max_steps=2", "sft.per_device_train_batch_size=8", "sft.gradient_accumulation_steps=2", "sft.save_steps=0",
    "rl.max_steps=2", "rl.num_generations=8", "rl.per_device_train_batch_size=8", "rl.steps_per_generation=2", "rl.gradient_accumulation_steps=2",
    "rl.num_iterations=1", "rl.max_completion_length=48", "rl.watch.probe_every=0", "rl.save_windows=0", "eval.max_completion_length=48", "compute.device=cpu",
    "compute.threads=2", "compute.prompts_once=false",
)  # fmt: skip
WAYS = {"all weights": (), "checkpointing": ("compute.gradient_checkpointing=true",), "LoRA": ("peft=lora",)}


def make_directory(folder: Path, size: str) -> Path:
    """A random model of that size with a tokenizer of the world's texts."""
    from transformers import set_seed

    from lore_lab.config.compose import compose
    from lore_lab.data.registry import load_source
    from lore_lab.stages.graph import plain
    from lore_lab.train.base import make_model, train_tokenizer

    hidden, inner, layers, heads, keys, vocabulary = SIZES[size]
    config = compose(())
    tokenizer = train_tokenizer(list(load_source(plain(config)["data"]).texts(500)), 1024)
    model = dataclasses.replace(
        config.model,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=keys,
    )
    set_seed(0)
    made = make_model(model, tokenizer)
    made.resize_token_embeddings(vocabulary)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def resident(field: str) -> int:
    """Bytes: VmRSS now, VmHWM the most since it was reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def measure(folder: str, stage: str, words: list[str]) -> dict[str, Any]:
    """In a process of its own: the stages before `stage`, then `stage` itself with its peak."""
    import importlib

    from lore_lab.config.compose import compose
    from lore_lab.stages.context import StageContext
    from lore_lab.stages.graph import SPECS, build
    from lore_lab.stages.store import Artifact
    from lore_lab.tracking.local import CurveWriter

    root = Path(folder) / "run" / f"{stage}-{abs(hash(tuple(words)))}"
    nodes, done = build(compose(tuple(words))), dict[str, Artifact]()
    for role in ("data", "base", stage):
        node = nodes[role]
        output, work = root / "store" / node.stage / node.key, root / "work" / node.stage
        output.mkdir(parents=True)
        work.mkdir(parents=True)
        module, _, name = SPECS[node.stage].function.partition(":")
        function = getattr(importlib.import_module(module), name)
        inputs = {name: done[source.role] for name, source in node.inputs.items()}
        gc.collect()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        metrics = function(StageContext(node.config, inputs, output, work, CurveWriter(work, stage), lambda *_: None))
        done[role] = Artifact(node.stage, node.key, output, {"metrics": metrics})
    prompts = metrics.get("prompt_tokens") or sum(map(len, _prompts(nodes, done))) / 64
    return {"bytes": resident("VmHWM") - before, "prompt": prompts, "target": metrics.get("target_tokens", 48)}


def _prompts(nodes: Any, done: Any) -> list[list[int]]:
    from lore_lab.stages.context import namespace
    from lore_lab.stages.functions.common import Pairs
    from lore_lab.train.common import load_tokenizer

    pairs = Pairs.read(done["data"])
    renderer = pairs.renderer(namespace(nodes["rl"].config), load_tokenizer(done["base"].path))
    return [renderer.ids(example) for _, example in pairs.rows]


def estimate(words: list[str], stage: str, prompt: int, completion: int) -> float:
    from lore_lab.config.compose import compose
    from lore_lab.planner.hours import Gpu
    from lore_lab.planner.memory import memory
    from lore_lab.planner.table import setting_of, shape_for
    from lore_lab.planner.work import works

    config = compose(tuple(words))
    work = next(work for work in works(config) if work.stage == stage)
    work = dataclasses.replace(work, prompt=prompt, completion=completion, logits=completion)
    return memory(work, shape_for(config), dataclasses.replace(setting_of(config, Gpu(1)), cuda=False)).peak


def main() -> None:
    print("| model | stage | trained | estimate, MiB | measured, MiB | error |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for size in SIZES:
            folder = make_directory(Path(temporary) / size.replace(" ", ""), size)
            for stage in ("sft", "rl"):
                for way, more in WAYS.items():
                    off = ("sft=off", "eval.stages=[]", "rl=pretrained") if stage == "rl" else ("rl=off", "sft=pretrained")
                    words = ["model=pretrained", f"model.path={folder}", *off, *SETTINGS, *more]
                    words = [word for word in words if not word.startswith(f"{'sft' if stage == 'rl' else 'rl'}.")]
                    call = [sys.executable, __file__, "--measure", temporary, stage, *words]
                    found = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
                    said = estimate(words, stage, round(found["prompt"]), round(found["target"]))
                    error = said / found["bytes"] - 1
                    print(f"| {size} | {stage} | {way} | {said / 2**20:.0f} | {found['bytes'] / 2**20:.0f} | {error:+.0%} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], sys.argv[4:])))
    else:
        main()

"""Writes output folders of the shape the stages write, with invented numbers: for tests and benchmarks of the analysis only."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HOSTILE = "</script><script>window.hacked=1</script><b>L4</b> & 'quotes'"


def write_sweep(
    root: Path,
    axes: dict[str, list[str]],
    sweep: str = "s1",
    *,
    steps: int = 40,
    examples: int = 12,
    effect: float = 0.03,
    extra_curves: int = 0,
    model_bytes: dict[str, str] | None = None,
    clip: float = 0.002,
) -> list[str]:
    """A finished sweep: the first axis shifts macro_f1 by `effect` per choice. Returns the point keys in order.

    model_bytes: arm value -> content of the final model file, to make arms byte-identical. clip: mean realised clip share.
    """
    points = []
    seeds = axes.get("seed", ["1"])
    names = [axis for axis in axes if axis != "seed"]
    for choice in itertools.product(*(axes[name] for name in names)):
        for seed in seeds:
            overrides = [f"{name}={value}" for name, value in zip(names, choice, strict=True)]
            overrides += [f"seed={seed}"] if "seed" in axes else []
            arm = axes[names[0]].index(choice[0]) if names else 0
            weights = (model_bytes or {}).get(choice[0] if choice else "", f"{overrides}")
            points.append(write_point(root, overrides, int(seed), arm, effect, steps, examples, extra_curves, f"{weights} {seed}", clip))
    record = {
        "sweep": sweep,
        "command": "python train.py -m " + " ".join(f"{axis}={','.join(values)}" for axis, values in axes.items()),
        "created": "2026-01-02T03:04:05",
        "axes": axes,
        "points": [{"point": point, "overrides": overrides} for point, overrides in points],
        "finished": "2026-01-02T04:04:05",
    }
    _json(root / "sweeps" / sweep / "sweep.json", record)
    return [point for point, _ in points]


def write_point(
    root: Path,
    overrides: list[str],
    seed: int,
    arm: int,
    effect: float,
    steps: int,
    examples: int,
    extra_curves: int,
    weights: str,
    clip: float,
) -> tuple[str, list[str]]:
    """One finished point with its four stages; SFT and its evaluation are shared between the arms of a seed."""
    rng = np.random.default_rng([seed, arm])
    common = np.random.default_rng(seed).normal(0, 0.01)
    key = _hash(*overrides)
    sft, rl = _hash("sft", seed), _hash("rl", *overrides, seed)
    before, after = _hash("eval", sft), _hash("eval", rl)
    score = 0.6 + common + arm * effect + rng.normal(0, 0.004)
    metrics = {f"eval/{name}": value for name, value in _metrics(score).items()}
    metrics |= {f"baseline/bm25/{name}": value for name, value in _metrics(0.4).items()}
    metrics |= {f"sft_eval/{name}": value for name, value in _metrics(0.5 + common).items()}
    if not (root / "store" / "sft" / sft).exists():
        write_stage(root, "sft", sft, {"data": "d0", "policy": "b0"}, _sft_curves(steps), f"sft {seed}")
        write_eval(root, before, sft, seed, examples, 0.5)
    write_stage(root, "rl", rl, {"data": "d0", "policy": sft}, _rl_curves(steps, arm, seed, clip, extra_curves), weights)
    write_eval(root, after, rl, seed * 100 + arm, examples, 0.6)
    stages = [("sft", "sft", sft), ("sft_eval", "eval", before), ("rl", "rl", rl), ("eval", "eval", after)]
    _json(
        root / "points" / key / "point.json",
        {
            "point": key,
            "overrides": overrides,
            "seed": seed,
            "state": "done",
            "started": "2026-01-02T03:04:05",
            "finished": "2026-01-02T03:05:05",
            "seconds": 60.0,
            "host": "here",
            "pid": 1,
            "error": None,
            "log": f"points/{key}/log.txt",
            "stages": [{"role": r, "stage": s, "key": k, "cached": s == "sft", "seconds": 12.3} for r, s, k in stages],
            "metrics": metrics,
            "config": {
                "seed": seed,
                "rl": {"clip_high": 0.2, "clip_low": 0.2},
                "prompt": {"max_tokens": 128},
                "data": {"name": "world", "profile": "small"},
                "compute": {"device": "cpu"},
            },
        },
    )
    return key, overrides


def write_stage(root: Path, stage: str, key: str, inputs: dict[str, str], curves: pa.Table | None, weights: str) -> None:
    """One stored stage; `weights` stands for the content of its model file."""
    folder = root / "store" / stage / key
    folder.mkdir(parents=True, exist_ok=True)
    if curves is not None:
        pq.write_table(curves, folder / "curves.parquet")
    files = {"model/model.safetensors": {"sha256": hashlib.sha256(weights.encode()).hexdigest(), "size": 1}} if weights else {}
    manifest = {
        "stage": stage,
        "key": key,
        "config": {},
        "inputs": inputs,
        "code": "c0de",
        "versions": {"torch": "2.13.0", "trl": "1.16.0"},
        "files": files,
        "metrics": {},
        "seconds": 12.3,
        "attempts": 1,
        "resumed_from": None,
    }
    _json(folder / "manifest.json", manifest)


def write_eval(root: Path, key: str, policy: str, seed: int, examples: int, accuracy: float) -> None:
    """One stored evaluation: each example once greedy, four times sampled."""
    write_stage(root, "eval", key, {"bench": "b1", "policy": policy}, None, "")
    rng = np.random.default_rng([seed, 7])
    rows: list[dict[str, Any]] = []
    for example, sample in itertools.product(range(examples), range(5)):
        gold = example % 4
        right = rng.random() < accuracy
        predicted = gold if right else int(rng.choice([-1, 0, 1, 2, 3]))
        rows.append(
            {
                "example_id": f"e{example}",
                "subset": ["general", "hard", "visual", "rule"][example % 4],
                "capability": ["general", "hard", "visual", "rule"][example % 4],
                "frequency": ["head", "torso", "tail"][example % 3],
                "query": f"query {example} {HOSTILE}",
                "title": f"title {example}",
                "gold": gold,
                "label": gold,
                "mode": "greedy" if sample == 0 else "sampled",
                "sample": sample,
                "predicted": predicted,
                "completion": f"because {HOSTILE}\nlabel: {predicted + 1}",
                "tokens": 20,
                "reasoning_tokens": 15,
            }
        )
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False), root / "store" / "eval" / key / "predictions.parquet")


def long_table(columns: dict[str, np.ndarray]) -> pa.Table:
    """name -> values per step, as the long table of a curves file."""
    steps = len(next(iter(columns.values())))
    return pa.table(
        {
            "step": pa.array(np.tile(np.arange(1, steps + 1), len(columns)), pa.int64()),
            "name": pa.array(np.repeat(list(columns), steps), pa.string()),
            "value": pa.array(np.concatenate(list(columns.values())), pa.float64()),
        }
    )


def _metrics(score: float) -> dict[str, float]:
    metrics = {
        "macro_f1": score,
        "macro_f1/low": score - 0.04,
        "macro_f1/high": score + 0.04,
        "acc@4": score + 0.02,
        "acc@2": score + 0.2,
    }
    metrics |= {"pass@1": score - 0.05, "pass@8": score + 0.2, "invalid_rate": 0.01, "optimistic_error_share": 0.6}
    return metrics | {f"{s}/macro_f1": score - 0.02 * i for i, s in enumerate(("general", "hard", "visual", "rule"))}


def _sft_curves(steps: int) -> pa.Table:
    return long_table({"sft/loss": np.exp(-np.arange(steps) / 10)})


def _rl_curves(steps: int, arm: int, seed: int, clip: float, extra: int) -> pa.Table:
    rng = np.random.default_rng([seed, arm, 1])
    t = np.arange(steps) / max(steps, 1)
    noise = rng.normal(0, 0.01, (4, steps))
    curves = {
        "rl/entropy": 0.2 + 0.4 * np.exp(-(4 - min(arm, 3)) * t) + noise[0],
        "rl/reward": 0.5 + 0.12 * (1 - np.exp(-4 * t)) + noise[1],
        "rl/clip_ratio/high_mean": clip * (1 + np.abs(noise[2])),
        "rl/clip_ratio/low_mean": clip * (1 + np.abs(noise[3])),
        "rl/clip_ratio/region_mean": 2 * clip * (1 + np.abs(noise[3])),
    }
    return long_table(curves | {f"rl/extra_{i}": t + i for i in range(extra)})


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))

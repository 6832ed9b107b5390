"""DAPO's dynamic sampling (2503.14476 section 3.2): no group without a reward difference in the batch, as far as a cap allows.

    0 < #{i: y_i right} < G for every group; the others are refilled with other prompts, `attempts` times at most

Assumed: difference is judged by the whole reward; refills are drawn uniformly from the prompts the run visits. With g grades a guess is
right with 1/g, so all-wrong groups say less than they seem to: watch `lore/dynamic/left`. Reported rewards are of the first round,
because those of refilled batches are selected. With several processes each rank refills its own groups, with prompts of its own draw.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from lore_lab.train.batches import flat_groups, group_rows, replace_rows
from lore_lab.train.idea import Batch, Generate, Idea, Material, Row

if TYPE_CHECKING:
    from lore_lab.config.ideas import DynamicSamplingConfig


class DynamicSampling(Idea):
    def __init__(self, config: DynamicSamplingConfig, seed: int, pad_id: int) -> None:
        self.config, self.seed, self.pad_id = config, seed, pad_id

    def rollout(self, rows: list[Row], generate: Generate) -> Batch:
        batch = generate(rows)
        size, dataset = self.trainer.num_generations, self.trainer.train_dataset
        metrics = copy.deepcopy(self.trainer._metrics["train"])
        rank = self.trainer.accelerator.process_index
        generator = np.random.default_rng([self.seed, self.trainer.state.global_step, *([rank] if rank else [])])
        flat = found = flat_groups(batch["reward"], size)
        rounds = 0
        while (most := self.trainer.most(len(flat))) and rounds < self.config.attempts:  # ranks score equally many rows
            rounds += 1
            drawn = generator.choice(len(dataset), size=most, replace=most > len(dataset))
            refill = [dict(dataset[int(index)]) for index in drawn for _ in range(size)]
            fresh = generate(refill)
            dull = set(flat_groups(fresh["reward"], size))
            good = [position for position in range(len(flat)) if position not in dull]
            places = group_rows([flat[position] for position in good], size)
            taken = group_rows(good, size)
            if places:
                batch = replace_rows(batch, places, {name: _take(value, taken) for name, value in fresh.items()}, self.pad_id)
                for place, source in zip(places, taken, strict=True):
                    rows[place] = refill[source]
            flat = [group for position, group in enumerate(flat) if position in dull]
        self.trainer._metrics["train"] = metrics
        groups = len(rows) // size
        for name, value in (("flat", len(found)), ("left", len(flat)), ("refilled", len(found) - len(flat))):
            self.trainer.note(f"dynamic/{name}", value / groups)
        self.trainer.note("dynamic/rounds", rounds)
        return batch


def _take(value: Any, rows: list[int]) -> Any:
    return value[rows] if value.dim() else value


def build(config: Any, material: Material) -> Idea:
    return DynamicSampling(config, material.seed, material.tokenizer.pad_token_id)

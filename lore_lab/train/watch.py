"""What is watched beside TRL's metrics, under rl/lore/. Changes no result: random streams are put back, weights are only read.

Each step: entropy_decision (label and verdict tokens), entropy_label, ratio_beyond (share of tokens that plain GRPO with a clip range of 0.2
would not have learned from, whatever the arm does with them), dual_clip (share of tokens beyond rl.delta, where it is set).
Each generation batch: accuracy, invalid, distinct (share of different completions in a group), zero_variance (share of groups whose
completions all earned the same), length_std, length_term (share of completions whose reward a length term changed).
Every `probe_every` steps on a fixed set: probe/accuracy (greedy), the same on its groups (probe/accuracy_tail, probe/accuracy_rule),
probe/sampled, probe/pass_at_k, probe/kl_reverse = E_p[log p/q] and probe/kl_forward = E_q[log q/p], each the mean over completions of the
mean over tokens, q the policy RL started from. The probe keeps a copy of q's weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from lore_lab.rollout.engine import Sampling
from lore_lab.train.idea import Batch, Idea, Material, mask_of, per_token

PLAIN_CLIP = 0.2  #: the clip range of PPO (1707.06347) and of plain GRPO


class Watch(Idea):
    def __init__(self, config: Any, material: Material) -> None:
        self.config, self.material = config, material
        self.probe: Probe | None = None

    def attach(self, trainer: Any) -> None:
        super().attach(trainer)
        if self.config.probe_every:
            self.probe = Probe(trainer, self.config, self.material)

    def batch(self, batch: Batch) -> Batch:
        size = self.trainer.num_generations
        lengths = batch["completion_mask"].sum(1)
        completions = [row[:length] for row, length in zip(batch["completion_ids"].tolist(), lengths.tolist(), strict=True)]
        width = batch["completion_ids"].size(1)
        kinds = [self.material.deciding(ids) for ids in completions]
        batch["deciding"] = torch.tensor([row + [0] * (width - len(row)) for row in kinds], device=lengths.device)
        groups = [completions[start : start + size] for start in range(0, len(completions), size)]
        rewards = batch["reward"].view(-1, size)
        numbers = {
            "accuracy": batch["correct"].float().mean(),
            "invalid": 1 - batch["valid"].float().mean(),
            "distinct": sum(len(set(map(tuple, group))) for group in groups) / len(completions),
            "zero_variance": ((rewards.amax(1) - rewards.amin(1)) < 1e-6).float().mean(),
            "length_std": lengths.float().std(),
            "length_term": (batch["length_term"] != 0).float().mean(),
        }
        for name, value in numbers.items():
            self.trainer.note(name, float(value))
        return batch

    def log_probs(self, inputs: Batch, log_probs: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
        kinds = inputs["deciding"]
        for name, chosen in (("entropy_decision", kinds > 0), ("entropy_label", kinds == 2)):
            count = chosen.sum().item()
            if count:
                self.trainer.note(name, (entropies.detach() * chosen).sum().item() / count)
        self._ratios(inputs, log_probs.detach())
        return log_probs

    def _ratios(self, inputs: Batch, log_probs: torch.Tensor) -> None:
        ratio = (log_probs - inputs.get("old_per_token_logps", log_probs)).exp()
        advantages, mask = per_token(inputs["advantages"], log_probs), mask_of(inputs)
        beyond = ((ratio > 1 + PLAIN_CLIP) & (advantages > 0)) | ((ratio < 1 - PLAIN_CLIP) & (advantages < 0))
        chosen = {"ratio_beyond": beyond}
        if self.material.config.delta is not None:
            chosen["dual_clip"] = (ratio > self.material.config.delta) & (advantages < 0)
        for name, tokens in chosen.items():
            self.trainer.note(name, ((tokens * mask).sum() / mask.sum()).item())

    def step(self, global_step: int) -> None:
        if self.probe is not None and global_step % self.config.probe_every == 0:
            for name, value in self.probe.measure().items():
                self.trainer.note(f"probe/{name}", value)


class Probe:
    """The fixed set. Its references, made from the policy RL starts from, are the same after a restart."""

    def __init__(self, trainer: Any, config: Any, material: Material) -> None:
        self.trainer, self.config, self.material = trainer, config, material
        self.set = material.probe(config.probe_size)
        self.sampling = Sampling(material.config.temperature, material.config.max_completion_length)
        self.repeated = [prompt for prompt in self.set.prompts for _ in range(config.probe_samples)]
        self.weights = [parameter.detach().clone() for parameter in self._trained()] if self.repeated else []
        self.reference = self._generate(self.repeated, self.sampling) if self.repeated else []
        self.reference_log_probs = self._log_probs(self.reference) if self.repeated else []

    def _trained(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.trainer.model.parameters() if parameter.requires_grad]

    def _generate(self, prompts: Sequence[list[int]], sampling: Sampling) -> list[list[int]]:
        devices = [self.trainer.model.device] if self.trainer.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.material.seed)
            return self.material.engine.generate(prompts, sampling)

    def _log_probs(self, completions: Sequence[list[int]]) -> list[float]:
        """Mean log-prob a token of each sampled completion under the present weights."""
        device, pad, prompts = self.trainer.model.device, self.material.tokenizer.pad_token_id, self.repeated
        left, right = max(map(len, prompts)), max(map(len, completions))
        columns = (
            [[pad] * (left - len(row)) + row for row in prompts],
            [[0] * (left - len(row)) + [1] * len(row) for row in prompts],
            [row + [pad] * (right - len(row)) for row in completions],
            [[1] * len(row) + [0] * (right - len(row)) for row in completions],
        )
        tensors = [torch.tensor(column, device=device) for column in columns]
        log_probs = self.trainer.score_tokens(self.trainer.model, *tensors)
        means: list[float] = ((log_probs * tensors[3]).sum(1) / tensors[3].sum(1)).tolist()
        return means

    @contextmanager
    def _start_weights(self) -> Iterator[None]:
        """The model with the weights RL started from, and back."""
        parameters = self._trained()
        present = [parameter.data for parameter in parameters]
        try:
            for parameter, weights in zip(parameters, self.weights, strict=True):
                parameter.data = weights
            yield
        finally:
            for parameter, weights in zip(parameters, present, strict=True):
                parameter.data = weights

    def measure(self) -> dict[str, float]:
        if not self.repeated:
            return {}
        probed, count = self.set, self.config.probe_samples
        greedy = self._generate(probed.prompts, Sampling(0.0, self.sampling.max_tokens))
        hits = [probed.read(ids) == gold for ids, gold in zip(greedy, probed.gold, strict=True)]
        sampled = self._generate(self.repeated, self.sampling)
        right = torch.tensor([probed.read(ids) == probed.gold[row // count] for row, ids in enumerate(sampled)]).view(-1, count).float()
        now = self._log_probs(sampled)
        with self._start_weights():
            before = self._log_probs(sampled)
        forward = zip(self.reference_log_probs, self._log_probs(self.reference), strict=True)
        groups = {f"accuracy_{name}": sum(hits[place] for place in places) / len(places) for name, places in probed.groups.items()}
        return groups | {
            "accuracy": sum(hits) / len(hits),
            "sampled": right.mean().item(),
            f"pass_at_{count}": right.amax(1).mean().item(),
            "kl_reverse": sum(p - q for p, q in zip(now, before, strict=True)) / len(now),
            "kl_forward": sum(q - p for q, p in forward) / len(now),
        }


def build(config: Any, material: Material) -> Idea:
    return Watch(config, material)

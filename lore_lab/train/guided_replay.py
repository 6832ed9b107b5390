"""AGRL's adaptive guided replay (2510.08048): groups that fail get help from the ground truth, and learn without it.

    for a group with mean correct <= trigger: ceil(share x G) completions, wrong ones first, are sampled again from p_old(. | prompt + hint);
    rewards and advantages are computed anew over the mixed group; the update is on p(. | prompt) without the hint

Behaviour of a replayed completion y. correction=none: p_old(y | prompt), so the ratio starts at 1 and the update leans towards y more than
importance sampling would. correction=importance: p_old(y | prompt + hint), the true ratio, small where y needed the hint.
Trigger, share, hint, placement and correction are not published: all assumed. Reported rewards are those before replay.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch

from lore_lab.rollout.engine import Sampling
from lore_lab.train.batches import group_rows, replace_rows
from lore_lab.train.idea import Batch, Generate, Idea, Material, Row

if TYPE_CHECKING:
    from lore_lab.config.ideas import GuidedReplayConfig


def rows_to_replay(correct: list[bool], trigger: float, share: float) -> list[int]:
    """Positions of a group that are sampled again; none when the group does well enough."""
    if sum(correct) / len(correct) > trigger:
        return []
    wrong_first = sorted(range(len(correct)), key=lambda position: correct[position])
    return sorted(wrong_first[: math.ceil(share * len(correct))])


class GuidedReplay(Idea):
    def __init__(self, config: GuidedReplayConfig, material: Material) -> None:
        self.config, self.material = config, material
        rl = material.config
        self.sampling = Sampling(rl.temperature, rl.max_completion_length, rl.top_p, rl.top_k)

    def rollout(self, rows: list[Row], generate: Generate) -> Batch:
        batch = generate(rows)
        size = self.trainer.num_generations
        batch["replayed"] = torch.zeros_like(batch["correct"])
        hints: dict[int, list[int]] = {}
        for start in range(0, len(rows), size):
            positions = rows_to_replay(batch["correct"][start : start + size].tolist(), self.config.trigger, self.config.share)
            hint = self.material.hinted(rows[start]["example"], self.config.hint, self.config.placement) if positions else None
            if hint:
                hints |= {start + position: hint for position in positions}
        self.trainer.note("replay_share", len(hints) / len(rows))
        groups = {row // size for row in hints}
        missing = self.trainer.most(len(groups)) - len(groups)
        # Ranks score equally many rows: one with fewer groups to replay scores others as they are, which changes nothing.
        others = [group for group in range(len(rows) // size) if group not in groups][:missing]
        return self._replay(rows, batch, hints, sorted([*groups, *others])) if groups or others else batch

    def _replay(self, rows: list[Row], batch: Batch, hints: dict[int, list[int]], groups: list[int]) -> Batch:
        size, pad = self.trainer.num_generations, self.material.tokenizer.pad_token_id
        places = group_rows(groups, size)
        sampled = self.material.engine.generate(list(hints.values()), self.sampling) if hints else []
        drawn = dict(zip(hints, sampled, strict=True))
        lengths = batch["completion_mask"].sum(1).tolist()
        kept = {row: batch["completion_ids"][row, : lengths[row]].tolist() for row in places}
        before = [bool(batch["correct"][row]) for row in hints]
        metrics = copy.deepcopy(self.trainer._metrics["train"])
        self.trainer.forced = [drawn.get(row, kept[row]) for row in places]
        fresh = self.trainer.score([rows[row] for row in places])
        self.trainer._metrics["train"] = metrics
        fresh["replayed"] = torch.tensor([row in hints for row in places], device=batch["replayed"].device)
        if self.config.correction == "importance":
            self._true_behaviour(batch, fresh, [hints.get(row) for row in places])
        if hints:
            self.trainer.note("replay/correct_before", sum(before) / len(before))
            self.trainer.note("replay/correct", fresh["correct"][fresh["replayed"]].float().mean().item())
        return replace_rows(batch, places, fresh, pad)

    def _true_behaviour(self, batch: Batch, fresh: Batch, hints: list[list[int] | None]) -> None:
        """Old log-probs of replayed completions are those under the prompt they were sampled from."""
        for part in (batch, fresh):
            part["old_per_token_logps"] = self.trainer.rollout_log_probs(part)
        rows = [row for row, hint in enumerate(hints) if hint]
        prompts = [hint for hint in hints if hint]
        if not prompts:
            return
        width, device = max(map(len, prompts)), fresh["completion_ids"].device
        pad = self.material.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        completions, completion_mask = fresh["completion_ids"][rows], fresh["completion_mask"][rows]
        fresh["old_per_token_logps"] = fresh["old_per_token_logps"].clone()
        fresh["old_per_token_logps"][rows] = self.trainer.score_tokens(self.trainer.model, ids, mask, completions, completion_mask)


def build(config: Any, material: Material) -> Idea:
    return GuidedReplay(config, material)

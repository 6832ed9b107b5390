"""TRL's GRPOTrainer with places for ideas. Nothing of TRL's algorithm is copied: every override calls the original.

Hooks used, pinned by tests/train/test_hooks.py: `_generate_and_score_completions`, `_get_per_token_logps_and_entropies`, `_compute_loss`,
`_get_train_sampler`, `get_high_entropy_mask`, `_save_checkpoint`, `_load_optimizer_and_scheduler`, `log`.

With several processes a rank holds whole groups of the generation batch, and the batch is theirs in the order of ranks, as one process would have
it. Every rank scores equally often and equally many rows, because scoring gathers rewards: an idea that scores again asks `most` how often.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer

from lore_lab.rollout.engine import within
from lore_lab.rollout.prefix import shareable
from lore_lab.train.buckets import bucketed
from lore_lab.train.idea import Batch, Idea, Row, mask_of
from lore_lab.train.prompts_once import PromptsOnce

if TYPE_CHECKING:
    from lore_lab.rewards.judge import Outcome
    from lore_lab.rollout.engine import Engine

STATE = "lab_state.json"


def _window_tokens(trainer: Any, inputs: Batch) -> torch.Tensor:
    """Tokens of the whole generation batch that fall to one micro-batch of one rank."""
    count: torch.Tensor = inputs["num_items_in_batch"].clamp(min=1.0)
    return count / (trainer.accelerator.num_processes * trainer.args.steps_per_generation)


#: TRL's loss is sum(weight x mask x per-token loss); the normaliser that makes the weight, by loss type. Held to TRL by a test.
_NORMALISER: dict[str, Callable[[Any, Batch, torch.Tensor], torch.Tensor | float]] = {
    "grpo": lambda trainer, inputs, mask: mask.sum(-1, keepdim=True).clamp(min=1.0) * len(mask),
    "sapo": lambda trainer, inputs, mask: mask.sum(-1, keepdim=True).clamp(min=1.0) * len(mask),
    "bnpo": lambda trainer, inputs, mask: mask.sum().clamp(min=1.0),
    "dr_grpo": lambda trainer, inputs, mask: len(mask) * trainer.max_completion_length,
    "dapo": lambda trainer, inputs, mask: _window_tokens(trainer, inputs),
    "cispo": lambda trainer, inputs, mask: _window_tokens(trainer, inputs),
}


class LabTrainer(GRPOTrainer):
    """ideas: called in this order. sampler: prompts in an order of its own, None for the dataset's.

    compute: how the same numbers are come by (ComputeConfig). engine: what the rollout function samples with. outcomes: filled by the reward function at each call, one a completion.
    """

    def __init__(self, *args: Any, compute: Any, engine: Engine, ideas: Sequence[Idea] = (), sampler: Any = None, **kwargs: Any) -> None:
        self.ideas, self.sampler, self.compute = list(ideas), sampler, compute
        self.outcomes: list[Outcome] = []
        self.forced: list[list[int]] | None = None  #: completions the next rollout takes instead of generating
        self.drawn: list[list[float]] | None = None  #: the sampler's log-probs of the present rollout, until they are used
        self.realised: list[int] = []  #: examples in the order they were visited
        self._inputs: Batch | None = None
        self._log_probs: torch.Tensor | None = None
        super().__init__(*args, **kwargs)
        self.engine = engine
        engine.attach(self)
        for idea in self.ideas:
            idea.attach(self)

    def note(self, name: str, value: float) -> None:
        """A metric of this step, under rl/lore/; the mean over ranks is logged."""
        self._metrics["train"][f"lore/{name}"].append(value)

    def everywhere(self, tensor: torch.Tensor) -> torch.Tensor:
        """(B,) or (B, T) rows of every rank, in the order of ranks; columns that are only elsewhere are 0."""
        whole: torch.Tensor = self.accelerator.gather(self.accelerator.pad_across_processes(tensor, dim=1) if tensor.dim() > 1 else tensor)
        return whole

    def own(self, whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """This rank's part of what was made from `everywhere`, in the shape of `like`, (B, T)."""
        start = self.accelerator.process_index * len(like)
        return whole[start : start + len(like), : like.size(1)]

    def most(self, count: int) -> int:
        """The greatest `count` that any rank has."""
        return int(self.everywhere(torch.tensor([count], device=self.accelerator.device)).max())

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return super()._get_train_sampler(dataset) if self.sampler is None else self.sampler

    def score(self, rows: list[Row]) -> Batch:
        """TRL's generation and scoring of `rows`, with what the judge found as columns beside its own."""
        batch: Batch = super()._generate_and_score_completions(rows)
        self.drawn = None
        if self.engine.bound is not None:
            self._check_engine(batch, self.engine.bound)
        outcomes, device = self.outcomes, batch["completion_ids"].device
        batch["reward"] = torch.tensor([outcome.reward for outcome in outcomes], device=device)
        batch["correct"] = torch.tensor([outcome.correct for outcome in outcomes], device=device)
        batch["valid"] = torch.tensor([outcome.valid for outcome in outcomes], device=device)
        batch["length_term"] = torch.tensor([outcome.length_term for outcome in outcomes], device=device)
        batch["example"] = torch.tensor([row["example"] for row in rows], device=device)
        return batch

    def _check_engine(self, batch: Batch, bound: float) -> None:
        """Raises WeightsError where the engine's log-probs have left the policy's; tokens it did not sample have none."""
        gaps = (self.rollout_log_probs(batch) - batch["sampling_per_token_logps"]).abs()
        known = gaps[mask_of(batch).bool() & ~gaps.isnan()]
        if len(known):
            self.note("engine_difference", within(known.mean().item(), bound))

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        rows = list(inputs)
        generate: Callable[[list[Row]], Batch] = self.score
        for idea in self.ideas:
            generate = partial(idea.rollout, generate=generate)
        batch = generate(rows)
        examples = self.everywhere(batch["example"]).tolist()
        if self.sampler is not None:
            self.sampler.observe(examples, self.everywhere(batch["correct"]).tolist())
        self.realised += examples[:: self.num_generations]
        batch["num_items_in_batch"] = self.accelerator.gather(mask_of(batch).sum()).sum()  # ideas may have exchanged rows
        for idea in self.ideas:
            batch = idea.batch(batch)
        return batch

    def _forward(
        self,
        model: Any,
        ids: torch.Tensor,
        mask: torch.Tensor,
        keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **rest: Any,
    ) -> Any:
        """TRL's forward pass, on rows grouped by length behind prompts computed once, where there is nothing but text."""
        forward, compute = super()._get_per_token_logps_and_entropies, self.compute
        prompt = ids.size(1) - keep
        whole = (compute.length_buckets == 1 and not compute.prompts_once) or prompt < 2 or self.accelerator.num_processes > 1
        if whole or any(value is not None and value is not False for value in rest.values()):
            return forward(model, ids, mask, keep, batch_size=batch_size, compute_entropy=compute_entropy, **rest)
        size = -(-(batch_size or len(ids)) // compute.length_buckets)
        bare = self.accelerator.unwrap_model(model)
        if not compute.prompts_once or self.args.gradient_checkpointing or not shareable(bare):  # checkpointed layers keep no cache
            return bucketed(forward, lambda rows: model, ids, mask, keep, size, compute_entropy=compute_entropy)
        with self.accelerator.autocast():
            prompts = PromptsOnce(bare, ids[:, :prompt], mask[:, :prompt])
        return bucketed(forward, prompts.behind, ids[:, prompt - 1 :], mask[:, prompt - 1 :], keep, size, compute_entropy=compute_entropy)

    def _get_per_token_logps_and_entropies(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int, **options: Any) -> Any:
        if self._inputs is None:
            drawn, self.drawn = self.drawn, None
            return self._forward(model, ids, mask, keep, **options) if drawn is None else (self._padded(drawn, ids, keep), None, None)
        log_probs, entropies, auxiliary = self._forward(model, ids, mask, keep, **options)
        for idea in self.ideas:
            log_probs = idea.log_probs(self._inputs, log_probs, entropies)
        self._log_probs = log_probs
        return log_probs, entropies, auxiliary

    @staticmethod
    def _padded(rows: list[list[float]], ids: torch.Tensor, keep: int) -> torch.Tensor:
        """(B, T) log-probs, 0 where a row has no token."""
        return torch.tensor([row + [0.0] * (keep - len(row)) for row in rows], device=ids.device)

    def get_high_entropy_mask(self, entropies: torch.Tensor, mask: torch.Tensor, threshold: float) -> torch.Tensor:
        chosen: torch.Tensor = super().get_high_entropy_mask(entropies, mask, threshold)
        self.note("top_entropy/masked", 1 - (chosen.sum() / mask.sum()).item())
        return chosen

    def _compute_loss(self, model: Any, inputs: Batch) -> torch.Tensor:
        self._inputs = dict(inputs)  # a shallow copy: the batch is used again in the next pass
        try:
            loss: torch.Tensor = super()._compute_loss(model, self._inputs)
            chosen, log_probs = self._inputs, self._log_probs
        finally:
            self._inputs = self._log_probs = None
        assert log_probs is not None
        for idea in self.ideas:
            term = idea.loss(model, chosen, log_probs)
            loss = loss if term is None else loss + term
        return loss

    def token_weights(self, inputs: Batch) -> torch.Tensor:
        """(B, T) weights under which a per-token term enters the loss exactly as TRL's own per-token loss does."""
        mask = mask_of(inputs).float()
        return mask / (_NORMALISER[self.loss_type](self, inputs, mask) * self.current_gradient_accumulation_steps)

    def rollout_log_probs(self, batch: Batch) -> torch.Tensor:
        """Log-probs of the policy that sampled. TRL has them unless every rollout feeds one step; only then a forward pass is made."""
        if "old_per_token_logps" in batch:
            found: torch.Tensor = batch["old_per_token_logps"]
            return found
        return self.score_tokens(self.model, batch["prompt_ids"], batch["prompt_mask"], batch["completion_ids"], batch["completion_mask"])

    @torch.no_grad()
    def score_tokens(self, model: Any, prompts: Any, prompt_mask: Any, completions: Any, completion_mask: Any) -> torch.Tensor:
        """Log-probs of completions under `model`, at the sampling temperature."""
        ids, mask = torch.cat([prompts, completions], 1), torch.cat([prompt_mask, completion_mask], 1)
        size = self.args.per_device_train_batch_size
        log_probs: torch.Tensor = self._forward(model, ids, mask, completions.size(1), batch_size=size)[0]
        return log_probs

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            for idea in self.ideas:
                idea.step(self.state.global_step)
        self._mean_notes()
        super().log(logs, start_time)

    def _mean_notes(self) -> None:
        """The lab's own metrics over all ranks; TRL's are so already."""
        if self.accelerator.num_processes == 1:
            return
        metrics = self._metrics["train"]
        own = {name: (sum(values), len(values)) for name, values in metrics.items() if name.startswith("lore/") and values}
        parts = gather_object([own])
        for name in sorted(set().union(*parts)):
            sums, counts = zip(*(part[name] for part in parts if name in part), strict=True)
            metrics[name] = [sum(sums) / sum(counts)]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Ours first: the trainer's own state file, written last, says that a checkpoint is whole. What it keeps is the same on every rank."""
        if not self.args.should_save:
            super()._save_checkpoint(model, trial)
            return
        state: dict[str, Any] = {"ideas": [idea.state() for idea in self.ideas], "realised": self.realised}
        if self.sampler is not None:
            state["sampler"] = self.sampler.state()
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        state = json.loads((Path(checkpoint) / STATE).read_text(encoding="utf-8"))
        self.realised = list(state["realised"])
        for idea, kept in zip(self.ideas, state["ideas"], strict=True):
            idea.load(kept)
        if self.sampler is not None:
            self.sampler.load(state["sampler"])

"""Settings of the engine that generates completions for RL, evaluation and pass@k (group `rollout`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lore_lab.config.fields import setting

if TYPE_CHECKING:
    from lore_lab.config.schema import Config

ENGINES = ("transformers", "vllm_colocate", "vllm_server")
CORRECTIONS = ("none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


@dataclass
class RolloutConfig:
    """Which engine samples completions, and what is done about its log-probs not being exactly the trainer's."""

    name: str = setting(
        "transformers: generate on the live model. vllm_colocate: a vLLM engine in the training process. vllm_server: `vllm serve` elsewhere",
        choices=ENGINES,
    )
    correction: str = setting(
        "vLLM: weight of a token's loss by p_trainer / p_engine, cut at correction_max (truncate) or zero beyond it (mask), a token or a sequence",
        choices=CORRECTIONS,
        source="TRL 1.16 vllm_importance_sampling_mode",
    )
    correction_max: float = setting("vLLM: the greatest weight", gt=1, source="TRL 1.16: 3")
    max_logp_difference: float = setting(
        "vLLM: the run stops when the mean |log p_trainer - log p_engine| over a generation batch's tokens exceeds this, nats",
        gt=0,
        source="assumed",
    )
    gpu_memory_utilization: float = setting(
        "vllm_colocate: share of the GPU's memory the engine reserves", gt=0, lt=1, source="TRL 1.16: 0.3"
    )
    base_url: str | None = setting("vllm_server: the server's address, without /v1; no part of a key")
    timeout: float = setting("vllm_server: seconds without an answer until a call is sent again", gt=0)
    concurrency: int = setting("vllm_server: calls under way at once", ge=1)


#: no part of a key: where, how fast, in how much memory, and a bound that can only stop a run
UNKEYED = ("rollout.max_logp_difference", "rollout.gpu_memory_utilization", "rollout.base_url", "rollout.timeout", "rollout.concurrency")


def uses_vllm(config: Config) -> bool:
    return config.rollout.name != "transformers"


def truncated(config: Config) -> bool:
    """Whether RL samples from a cut distribution, whose probabilities are not those the loss takes."""
    return config.rl.enabled and (config.rl.top_p < 1 or config.rl.top_k > 0)

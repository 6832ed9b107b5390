"""Settings of the RL ideas that TRL lacks. Each is a section of `rl` with a switch, and a module lore_lab/train/<section>.py.

A section that is off leaves no trace in a stage key; what each idea is stands in its module and in the registry (`lore-lab arms`).
"""

from __future__ import annotations

from dataclasses import dataclass

from lore_lab.config.fields import setting


@dataclass
class ClipCovConfig:
    """Clip-Cov (2505.22617): no gradient from a few tokens of high covariance."""

    enabled: bool = setting("switch")
    share: float = setting("share of all tokens of a generation batch that lose their gradient", gt=0, le=1, source="2505.22617: 2e-4")
    low: float = setting("covariance from which a token may be drawn", source="2505.22617: 1")
    high: float = setting("covariance up to which a token may be drawn", source="2505.22617: 5")


@dataclass
class KlCovConfig:
    """KL-Cov (2505.22617): a penalty on leaving the rollout policy, on the tokens of highest covariance."""

    enabled: bool = setting("switch")
    share: float = setting("share of all tokens of a generation batch that are held", gt=0, le=1, source="2505.22617: 2e-3; verl: 2e-4")
    coef: float = setting("weight of |log-prob - rollout log-prob|", gt=0, source="2505.22617: 1; verl: 0.1")


@dataclass
class DynamicSamplingConfig:
    """DAPO's dynamic sampling (2503.14476 section 3.2): groups without any reward difference are refilled."""

    enabled: bool = setting("switch")
    attempts: int = setting("refills of a generation batch at most; groups still without difference stay", ge=1, source="assumed")


@dataclass
class SftAuxiliaryConfig:
    """AFRL's mode balance (2602.10006): cross-entropy on gold targets beside the policy loss. Weight and schedule are assumed."""

    enabled: bool = setting("switch")
    weight: float = setting("weight at the first step", gt=0, source="assumed")
    schedule: str = setting("how the weight moves", choices=("constant", "decaying", "adaptive"), source="assumed")
    final: float = setting("decaying: share of the weight left at the last step, linear", ge=0, le=1, source="assumed")
    rate: float = setting("adaptive: relative change of the weight an optimizer step", gt=0, lt=1, source="assumed")
    tolerance: float = setting("adaptive: the weight grows while the loss is above (1 + this) x its first value", ge=0, source="assumed")
    bounds: list[float] = setting("adaptive: least and greatest factor on the weight", ge=0, source="assumed")
    batch_size: int = setting("gold targets a micro-batch", ge=1, source="assumed")


@dataclass
class GuidedReplayConfig:
    """AGRL's adaptive guided replay (2510.08048). Trigger, share, placement and correction are not published: all assumed."""

    enabled: bool = setting("switch")
    trigger: float = setting("groups whose share of right labels is at most this are replayed", ge=0, lt=1, source="assumed")
    share: float = setting("share of such a group's completions that is generated again, wrong ones first", gt=0, le=1, source="assumed")
    hint: str = setting("what the hint tells", choices=("needs", "path", "rules", "all"), source="assumed")
    placement: str = setting("where the hint stands in the prompt", choices=("end", "start"), source="assumed")
    correction: str = setting(
        "behaviour policy of a replayed completion: the rollout policy without the hint (ratio 1 at first), or with it (true importance ratio)",
        choices=("none", "importance"),
        source="assumed",
    )


@dataclass
class StepwiseConfig:
    """AFRL's Stepwise-GRPO (2602.10006): each step's tokens get an advantage of their own. The mixing is assumed."""

    enabled: bool = setting("switch")
    weight: float = setting(
        "share of a step token's advantage that is the step's own; the rest is the completion's", gt=0, le=1, source="assumed"
    )


@dataclass
class WatchConfig:
    """What is measured beside TRL's own metrics. Never changes a result."""

    enabled: bool = setting("one switch for all of it")
    probe_every: int = setting("optimizer steps between probes of a fixed set; 0 is never", ge=0)
    probe_size: int = setting("pairs of the source's validation split that are probed", ge=1)
    probe_samples: int = setting("sampled completions a probed pair (n of pass@k)", ge=2)

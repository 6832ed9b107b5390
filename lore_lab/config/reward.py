"""Group `reward`: what a completion earns."""

from __future__ import annotations

from dataclasses import dataclass, field

from lore_lab.config.fields import setting


@dataclass
class OverlongConfig:
    """DAPO's soft overlong punishment (2503.14476 section 3.4): 0 up to the buffer, then linear down to -weight at the length limit."""

    enabled: bool = setting("switch")
    buffer: int = setting("tokens before rl.max_completion_length in which the punishment grows", ge=1, source="assumed")
    weight: float = setting("punishment at the limit", gt=0, source="2503.14476: 1")


@dataclass
class BrevityConfig:
    """A price on tokens, paid by right completions only, so that a short wrong answer gains nothing. Ours."""

    enabled: bool = setting("switch")
    weight: float = setting("price of a completion as long as rl.max_completion_length", gt=0, le=1, source="assumed")


@dataclass
class RuleAwareConfig:
    """AGRL's dense reward (2510.08048): parts of the reasoning against gold facts. The weights are not published: assumed."""

    needs: float = setting("weight: F1 of dimension = value", ge=0, source="assumed")
    knowledge: float = setting("weight: F1 of meanings", ge=0, source="assumed")
    path: float = setting("weight: share of dimensions judged right, extra ones counted against", ge=0, source="assumed")
    rules: float = setting("weight: exactly the rules that fire", ge=0, source="assumed")
    label: float = setting("weight: the final label", gt=0, source="assumed")
    gate: bool = setting("true: no part pays unless the final label is right and the reasoning follows the grammar", source="assumed")


@dataclass
class RewardConfig:
    """Verifiable rewards of a parsed completion (group `reward`)."""

    name: str = setting("which reward: module lore_lab/rewards/<name>.py", choices=("exact", "graded", "format", "rule_aware"))
    invalid: float = setting("reward of a completion that does not parse", le=0)
    rule_aware: RuleAwareConfig = field(default_factory=RuleAwareConfig)
    overlong: OverlongConfig = field(default_factory=OverlongConfig)
    brevity: BrevityConfig = field(default_factory=BrevityConfig)

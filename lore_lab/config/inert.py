"""What an inert rule is, and the condition most of them share."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lore_lab.config.schema import Config


@dataclass(frozen=True)
class InertRule:
    """keys: glob patterns over dotted config keys and group names. inert: whether they cannot act."""

    name: str
    keys: tuple[str, ...]
    inert: Callable[[Config], bool]
    why: str
    instead: str

    def touches(self, key: str) -> bool:
        return any(fnmatch.fnmatchcase(key, pattern) for pattern in self.keys)


def one_update(config: Config) -> bool:
    """Every rollout feeds exactly one optimizer step, so the importance ratio is 1 whatever the policy does (TRL 1.16)."""
    rl = config.rl
    return rl.gradient_accumulation_steps % (rl.steps_per_generation * rl.num_iterations) == 0


ONE_UPDATE_WHY = "every rollout feeds exactly one optimizer step, so the ratio is 1"
UPDATE_MORE = (
    "use each rollout for several updates: raise rl.steps_per_generation or rl.num_iterations above rl.gradient_accumulation_steps"
)

"""What the report needs to know of a claim. Experiment files and their results are turned into these elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lore_lab.analysis.verdicts import Verdict


@dataclasses.dataclass(frozen=True)
class ClaimCard:
    """One line of the board, and the claim's page.

    name: such as "lore/clip_higher". claim: the sentence. source: paper and section. tag: paper, secondary or assumed. assumed: what the
    source does not say. arms: arm -> its override words. controls: arms that are not judged. shown: metrics
    beside the judged one. axes, follows: where the arms may differ.
    outcome, reason: the claim's verdict, "" when not measured. verdicts: one per arm judged. figures: arm -> metric -> one value a seed.
    subsets: arm -> rows of subset_effects. notes: of the realised-effect check. needs: what the claim needs that the lab or the embedded
    scale lacks. stale: why the result no longer holds. confounds: fields that differ between the arms though they should not, None
    when not checked. provenance: of the result. sweep: its sweep's id, None where the root does not have it.
    """

    name: str
    claim: str
    source: str
    tag: str
    metric: str
    direction: str = ""
    smallest_effect: float | None = None
    baseline: str = ""
    arms: Mapping[str, str] = dataclasses.field(default_factory=dict)
    controls: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    outcome: str = ""
    reason: str = ""
    verdicts: tuple[Verdict, ...] = ()
    figures: Mapping[str, Mapping[str, list[float | None]]] = dataclasses.field(default_factory=dict)
    subsets: Mapping[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: str = ""
    needs: str = ""
    stale: str = ""
    confounds: tuple[str, ...] | None = None
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sweep: str | None = None

    @property
    def standing(self) -> str:
        """What the board shows: the outcome, or why there is none."""
        return self.outcome or (f"needs {self.needs}" if self.needs else "not measured")

    @property
    def id(self) -> str:
        """A name for links within the page."""
        return "".join(c if c.isalnum() else "-" for c in self.name)

    def role(self, arm: str) -> str:
        """What an arm is for."""
        return "baseline" if arm == self.baseline else "control" if arm in self.controls else "judged"

    def values(self, arm: str, metric: str = "") -> list[float]:
        """A metric of an arm, the claim's own by default, one finite value a seed; empty when not measured."""
        return [value for value in self.figures.get(arm, {}).get(metric or self.metric, []) if value is not None]

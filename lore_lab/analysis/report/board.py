"""What the report needs to know of a claim. Experiment files and their results are turned into these elsewhere."""

from __future__ import annotations

import dataclasses

from lore_lab.analysis.verdicts import Verdict


@dataclasses.dataclass(frozen=True)
class ClaimCard:
    """One line of the board, and the head of the claim's page when it has a sweep.

    name: such as "lore/clip_higher". claim: the sentence. source: paper and section. tag: paper, secondary or assumed. outcome: a
    verdict, or "" when not measured. verdicts: one per arm. needs: what the claim needs that the embedded scale lacks. stale: why the
    result no longer holds. confounds: fields that differ between the arms though they should
    not, None when not checked. sweep: its sweep's id.
    """

    name: str
    claim: str
    source: str
    tag: str
    metric: str
    outcome: str = ""
    verdicts: tuple[Verdict, ...] = ()
    command: str = ""
    needs: str = ""
    stale: str = ""
    confounds: tuple[str, ...] | None = None
    sweep: str | None = None

    @property
    def standing(self) -> str:
        """What the board shows: the outcome, or why there is none."""
        return self.outcome or (f"needs {self.needs}" if self.needs else "not measured")

"""How the claims stand: verdict, effect, interval, seeds, stale or not, what is missing. As rows for the terminal, the README and the report."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lore_lab.claims.claim import EXPERIMENTS, Claim, claim_names, load_claim
from lore_lab.claims.results import KeyBook, Result, effect, load_result, staleness

if TYPE_CHECKING:
    from lore_lab.analysis.report import ClaimCard

BEGIN, END = "<!-- board: lore-lab claims --write README.md -->", "<!-- /board -->"


@dataclasses.dataclass(frozen=True)
class Standing:
    """One claim, its committed result if it has one, and why that no longer holds ("" where it does, or where nobody asked)."""

    claim: Claim
    result: Result | None
    stale: str = ""

    @property
    def outcome(self) -> str:
        """The verdict, or why there is none."""
        if self.result:
            return str(self.result["outcome"])
        return f"needs {self.claim.needs}" if self.claim.needs else "not measured"

    @property
    def effects(self) -> list[str]:
        """One line an arm judged: its effect with the plain 95 % interval, and the arm's name where there are several."""
        verdicts = self.result["verdicts"] if self.result else []
        return [effect(v) + (f" {v['arm']}" if len(verdicts) > 1 else "") for v in verdicts]

    @property
    def seeds(self) -> int:
        return len(self.result["rule"]["seeds"]) if self.result else 0


def standings(folder: Path = EXPERIMENTS, book: KeyBook | None = None) -> list[Standing]:
    """Every claim in the order of the files. book: None leaves staleness out. Raises ConfigError for a file that cannot be read."""
    claims = [load_claim(name, folder) for name in claim_names(folder)]
    results = [load_result(claim.name, folder) for claim in claims]
    found = [
        Standing(claim, result, staleness(claim, result, book) if result and book else "")
        for claim, result in zip(claims, results, strict=True)
    ]
    if book:
        book.save()
    return found


def board(found: Sequence[Standing]) -> str:
    """The board as Markdown: what was measured, then what was not. From the files alone, so that it is the same on every machine."""
    rows = ["| claim | tag | verdict | effect [95 % interval] | seeds |", "|---|---|---|---|---|"]
    for own in (own for own in found if own.result):
        link = f"[{own.claim.name}](experiments/{own.claim.name}.yaml)"
        rows.append(f"| {link}: {own.claim.claim} | {own.claim.tag} | {own.outcome} | {'<br>'.join(own.effects)} | {own.seeds} |")
    open_ = [own.claim.name for own in found if not own.result and not own.claim.needs]
    lacking = [own.claim.name for own in found if not own.result and own.claim.needs]
    lines = [f"{len(found)} claims, {len(rows) - 2} measured. `lore-lab claims` says which results are stale in your checkout."]
    lines += ["\n".join(rows)] if len(rows) > 2 else []
    by_paper = [
        f"- {paper}: {', '.join(name.partition('/')[2] for name in names)}"
        for paper, names in groupby(open_, key=lambda name: name.partition("/")[0])
    ]
    lines += ["\n".join(["Runnable, not measured yet:", "", *by_paper])] if open_ else []
    lines += [f"Waiting for something the lab lacks: {', '.join(lacking)}."] if lacking else []
    return "\n\n".join(lines)


def write_board(page: Path, found: Sequence[Standing]) -> None:
    """Replace what stands between the page's two marks. Raises ValueError where it has none."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page}: the board goes between the lines {BEGIN} and {END}, once each")
    page.write_text(with_board(text, found), encoding="utf-8")


def with_board(text: str, found: Sequence[Standing]) -> str:
    """The page's text with the present board between its marks."""
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n{board(found)}\n{END}", text, flags=re.DOTALL)


def cards(found: Sequence[Standing], root: Path) -> list[ClaimCard]:
    """The claims as the report shows them, measured ones first, each with its sweep where `root` has it."""
    from lore_lab.analysis.load import list_sweeps
    from lore_lab.analysis.report import ClaimCard

    records = list_sweeps(root)
    there = {record["sweep"] for record in records}
    newest = {record.get("experiment", ""): record["sweep"] for record in reversed(records)}
    return [
        ClaimCard(
            name=own.claim.name,
            claim=own.claim.claim,
            source=own.claim.source,
            tag=own.claim.tag,
            metric=own.claim.metric,
            direction=own.claim.direction,
            smallest_effect=own.claim.smallest_effect,
            baseline=own.claim.baseline,
            arms={arm: " ".join([*own.claim.setup, *own.claim.arms[arm]]) or "the default" for arm in own.claim.ordered},
            controls=tuple(own.claim.controls),
            shown=tuple(own.claim.shown),
            assumed=tuple(own.claim.assumed),
            axes=tuple(own.claim.axes),
            follows=tuple(own.claim.follows),
            command=f"python train.py -m experiment={own.claim.name}",
            needs=own.claim.needs,
            stale=own.stale,
            sweep=result["sweep"] if (result := own.result) and result["sweep"] in there else newest.get(own.claim.name),
            **_measured(own),
        )
        for own in sorted(found, key=lambda own: (own.result is None, bool(own.claim.needs)))
    ]


def _measured(own: Standing) -> dict[str, Any]:
    """What a card shows of the result."""
    from lore_lab.analysis.verdicts import Verdict

    result = own.result
    if not result:
        return {}
    facts = {"measured": result["measured"], "commit": result["commit"], "world": result["profile"], "device": result["device"]}
    facts |= {"stage seconds": f"{result['seconds']:.0f}", "versions": ", ".join(f"{k} {v}" for k, v in sorted(result["versions"].items()))}
    return {
        "outcome": result["outcome"],
        "reason": result["reason"],
        "verdicts": tuple(Verdict.from_dict(row) for row in result["verdicts"]),
        "figures": result["figures"],
        "subsets": result["subsets"],
        "notes": tuple(result["notes"]),
        "provenance": facts,
        "confounds": (),  # a run with a confound is refused before compute, so a result has none
    }

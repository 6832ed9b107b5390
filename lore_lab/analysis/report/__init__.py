"""One self-contained HTML file about a sweep, a set of claims, or both. No network, nothing to install: it opens anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lore_lab import __version__
from lore_lab.analysis.load import list_sweeps
from lore_lab.analysis.report.board import ClaimCard
from lore_lab.analysis.report.section import Section, build_section

__all__ = ["ClaimCard", "Section", "build_section", "render", "write_report"]

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    root: str | Path = "outputs",
    sweep: str | None = None,
    out: str | Path = "report.html",
    *,
    claims: Sequence[ClaimCard] = (),
) -> Path:
    """Writes the report and returns where it is.

    Without claims: the sweep given, the newest one when None, all points when there is no sweep at all. With claims: the board, then a
    page per claim, with its runs where `root` has them (and the sweep given, if any). Raises FileNotFoundError for a sweep that is not there.
    """
    newest = next((record["sweep"] for record in list_sweeps(root)), None)
    sections = [build_section(root, claim.sweep, claim) for claim in claims if claim.sweep]
    if sweep or not claims:
        sections.append(build_section(root, sweep or newest))
    title = "Claims" if claims else sections[0].title
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(title, sections, claims), encoding="utf-8")
    return out


def render(title: str, sections: Sequence[Section], claims: Sequence[ClaimCard] = ()) -> str:
    """The report as HTML. All text is escaped: queries, titles and completions are written by others."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    script = (_TEMPLATES / "script.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.jinja").render(
        title=title,
        sections=sections,
        claims=claims,
        version=__version__,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        # Only this very script may run: should escaping ever fail, what was smuggled in still does nothing.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )

"""Runs as pandas tables, statistics over seeds, figures, verdicts and the report. Imports no torch, and pandas only when asked
for it."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "load": ("load_runs", "latest", "load_curves", "load_predictions", "list_sweeps", "short_names"),
    "comparison": ("compare", "subset_effects"),
    "curves": ("curve_summary", "fit_entropy_law", "seed_bands"),
    "axes": ("plot_metric",),
    "claims": ("load_claims",),
    "figures": ("plot_curves", "plot_sweep", "plot_verdicts"),
    "ladder": ("build_ladder", "plot_ladder"),
    "laboratory": ("arm_facts", "write_laboratory"),
    "measures": ("with_metric",),
    "realised": ("effects", "realised_effect"),
    "summary": ("summarise_sweep", "Summary"),
    "verdicts": ("verdict", "Verdict", "judge", "overall", "verdict_table"),
    "report": ("write_report",),
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for: `import lore_lab.analysis` costs nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)

"""Where what stages write while they run lies, for those who follow it. Imports nothing that takes time."""

from __future__ import annotations

from pathlib import Path


def work_folders(root: Path, stage: str, key: str) -> list[Path]:
    """Where attempts at a stage that has no artifact yet lie, newest last. Whoever is at work on it has its name on the folder (stages/store.py)."""

    def age(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except FileNotFoundError:  # renamed by who took it over
            return 0.0

    return sorted((root / "work").glob(f"{stage}-{key}*"), key=age)


def work_folder(root: Path, stage: str, key: str) -> Path:
    """Where the newest attempt at a stage lies, or a first one would."""
    return next(reversed(work_folders(root, stage, key)), root / "work" / f"{stage}-{key}")

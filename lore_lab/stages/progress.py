"""What a person sees while stages run: bars on a terminal, one line per event elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

_LINE_SECONDS = 15.0


class Progress:
    """Follows stages by id. A context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bars = Bars(*columns, console=self.console, transient=True) if self.console.is_terminal else None
        self._rows: dict[str, tuple[TaskID | None, str]] = {}
        self._said: dict[str, float] = {}

    def __enter__(self) -> Progress:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def start(self, stage: str, title: str) -> None:
        row = self._bars.add_task(title, total=None, text="") if self._bars else None
        self._rows[stage] = (row, title)
        self._said[stage] = time.monotonic()
        if row is None:
            self.line(f"start   {title}")

    def update(self, stage: str, done: int, total: int, text: str) -> None:
        row, title = self._rows[stage]
        if self._bars and row is not None:
            self._bars.update(row, completed=done, total=total, text=text)
        elif time.monotonic() - self._said[stage] >= _LINE_SECONDS:
            self._said[stage] = time.monotonic()
            self.line(f"        {title}: {done}/{total} {text}")

    def finish(self, stage: str, state: str, seconds: float, error: str | None) -> None:
        row, title = self._rows.pop(stage)
        if self._bars and row is not None:
            self._bars.remove_task(row)
        if state != "pending":
            self.line(f"{state:7s} {title} ({seconds:.1f} s){': ' + error if error else ''}")

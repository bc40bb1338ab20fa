"""Progress of long work: a bar on a terminal, now and then a plain line anywhere else."""

import time
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PLAIN_EVERY_S = 5.0


class Progress:
    """How far a file has been played. Other output may be printed to the same console meanwhile."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._said_at = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("", total=total) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def reached(self, number: int, at: datetime) -> None:
        """Line `number` was answered; `at` is its time in the clinic."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=number, description=f"{at:%d %b %Y}")
        elif time.monotonic() - self._said_at > PLAIN_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(f"  line {number} of {self._total}, {at:%d %b %Y}")

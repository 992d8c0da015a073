"""Progress for people: bars on a terminal, plain lines elsewhere, always on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline import torchrun
from pipeline.addresses import masked
from pipeline.terminal import Terminal, harmless

SECONDS_BETWEEN_LINES = 5.0


class Task(Protocol):
    """One thing that advances."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more as done; `note` replaces the text behind the bar."""
        ...


class _Bar:
    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(harmless(name), total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=steps, note=harmless(note))


class _Lines:
    """At most one line every few seconds, and one at the end."""

    def __init__(self, console: Terminal, name: str, total: int) -> None:
        self._console, self._name, self._total = console, name, total
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if self._done < self._total and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        rate = self._done / max(now - self._start, 1e-9)
        left = f" {rate:.1f}/s, {(self._total - self._done) / rate:.0f} s left" if self._done else ""
        self._console.print(f"{self._name}: {self._done}/{self._total}{left} {note}".rstrip())


class Reporter:
    """Where the stages say what they do; of processes that train together, only the first one reports."""

    def __init__(self, console: Terminal | None = None) -> None:
        self.console = console or Terminal(stderr=True, soft_wrap=not sys.stderr.isatty(), quiet=torchrun.rank() > 0)

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(masked(text))

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Show progress of `total` steps while the block runs."""
        if not self.console.is_terminal:
            yield _Lines(self.console, name, total)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self.console) as progress:
            yield _Bar(progress, name, total)

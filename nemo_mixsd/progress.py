"""Progress of long work: a bar with rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

LINE_PERIOD = 20.0
"""Seconds between two progress lines where there is no terminal."""


class Task:
    """A running count of finished items. ``advance`` may be called from one thread only."""

    def __init__(self, label: str, total: int, unit: str, done: int) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = done
        self._first = done
        self._start = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        self._id = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TextColumn(unit + "{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._id = self._bar.add_task(label, total=total, completed=done, rate="", note="")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Say that ``count`` more items are finished; ``note`` is shown behind the numbers."""
        self.done += count
        elapsed = time.monotonic() - self._start
        rate = (self.done - self._first) / elapsed if elapsed > 0 else 0.0
        if self._bar is not None and self._id is not None:
            self._bar.update(self._id, completed=self.done, rate=f"  {rate:.1f}/s", note=note)
        elif self.done >= self.total or time.monotonic() - self._last_line >= LINE_PERIOD:
            self._last_line = time.monotonic()
            left = f"{(self.total - self.done) / rate:.0f} s left" if rate > 0 else "time left unknown"
            logger.info(
                "%s: %d of %d %s, %.1f/s, %s%s",
                self.label,
                self.done,
                self.total,
                self.unit,
                rate,
                left,
                f", {note}" if note else "",
            )

    def close(self) -> None:
        """Take the bar off the screen; called by ``track``."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def track(label: str, total: int, unit: str = "items", done: int = 0) -> Iterator[Task]:
    """Show the progress of a block of work.

    Args:
        label: What is being done.
        total: How many items in all.
        unit: What the items are.
        done: How many were finished before (a resumed stage starts there).
    """
    task = Task(label, total, unit, done)
    try:
        yield task
    finally:
        task.close()

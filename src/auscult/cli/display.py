"""Progress for people: a bar with the time left on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from auscult.base.progress import Progress, duration

if TYPE_CHECKING:
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0


def progress_for(stream: TextIO | None = None) -> Progress:
    """A bar when the stream (standard error by default) is a terminal, lines otherwise."""
    target = sys.stderr if stream is None else stream
    return Bar() if target.isatty() else Lines(target)


class Bar:
    """A rich progress bar per stage, with elapsed and remaining time."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            speed_estimate_period=600,
        )
        self._task: TaskID | None = None
        self._total = 0.0
        self._done = 0.0

    def start(self, label: str, total: float) -> None:
        """Begin a stage."""
        if self._task is None:
            self._rich.start()
        else:
            self._complete()
        self._done, self._total = 0.0, total
        self._task = self._rich.add_task(label, total=int(total))

    def advance(self, steps: float = 1.0) -> None:
        """Report steps done."""
        self._done += steps
        if self._task is not None:
            self._rich.update(self._task, completed=round(self._done, 1))

    def finish(self) -> None:
        """End the stage."""
        self._complete()
        self._rich.stop()
        self._task = None

    def _complete(self) -> None:
        if self._task is not None:
            self._rich.update(self._task, completed=self._total)


class Lines:
    """A line at the start and end of a stage and every ten seconds in between."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._label = ""
        self._total = self._done = self._at_start = 0.0
        self._started = self._said = 0.0
        self._first = True

    def start(self, label: str, total: float) -> None:
        """Begin a stage."""
        self._label, self._total, self._done, self._at_start = label, total, 0.0, 0.0
        self._started = self._said = time.monotonic()
        self._first = True

    def advance(self, steps: float = 1.0) -> None:
        """Report steps done."""
        self._done += steps
        now = time.monotonic()
        if self._first:
            # What was there before the stage began (a resumed run) took no time of it.
            self._at_start, self._first = self._done, False
        if now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            self._say(now)

    def finish(self) -> None:
        """End the stage."""
        seconds = time.monotonic() - self._started
        if seconds >= 1:
            self._write(f"{self._label}: done in {duration(seconds)}")

    def _say(self, now: float) -> None:
        text = f"{self._label}: {self._done:,.0f} of {self._total:,.0f}"
        worked = self._done - self._at_start
        if worked > 0 and self._total > self._done:
            left = (self._total - self._done) * (now - self._started) / worked
            text += f", about {duration(left)} left"
        self._write(text)

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

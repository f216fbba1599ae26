"""Progress as a protocol: the library reports steps, whoever shows them decides how.

The library never prints. :class:`Progress` is what it talks to. :data:`SILENT` is the default
inside; what users call takes :data:`auscult.base.notebooks.USUAL`, a bar in notebooks, and the
command line brings one for terminals and one for log files.
"""

from __future__ import annotations

import time
from typing import Protocol

SECONDS_OF_A_STAGE = 2.0


class Progress(Protocol):
    """Shows how far a long piece of work is."""

    def start(self, label: str, total: float) -> None:
        """Begin a stage of `total` steps; it replaces the stage before."""

    def advance(self, steps: float = 1.0) -> None:
        """Report steps done since the last call."""

    def finish(self) -> None:
        """End the stage."""


class _Silent:
    def start(self, label: str, total: float) -> None:
        pass

    def advance(self, steps: float = 1.0) -> None:
        pass

    def finish(self) -> None:
        pass


SILENT: Progress = _Silent()


class Relay:
    """Progress of a thread beside, for who waits for it to show.

    What is begun again and again is shown as one stage for a while: nobody reads ten bars a second.
    """

    def __init__(self) -> None:
        self._stage, self._done = ("", 0.0, 0), 0.0
        self._shown, self._told, self._since = self._stage, 0.0, 0.0

    def start(self, label: str, total: float) -> None:
        """Begin a stage."""
        self._stage, self._done = (label, total, self._stage[2] + 1), 0.0

    def advance(self, steps: float = 1.0) -> None:
        """Report steps done."""
        self._done += steps

    def finish(self) -> None:
        """End the stage."""

    def show(self, progress: Progress) -> None:
        """Tell how far the thread is; called by who waits, now and then.

        Parameters
        ----------
        progress : Progress
        """
        stage, done, now = self._stage, self._done, time.monotonic()
        if stage != self._shown:
            if self._shown[2] and now - self._since < SECONDS_OF_A_STAGE:
                return
            progress.start(*stage[:2])
            self._shown, self._told, self._since = stage, 0.0, now
        progress.advance(done - self._told)
        self._told = done


def duration(seconds: float) -> str:
    """For example "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"

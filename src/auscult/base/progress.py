"""Progress as a protocol: the library reports steps, whoever shows them decides how.

The library never prints. :class:`Progress` is what it talks to. :data:`SILENT` is the default
inside; what users call takes :data:`auscult.base.notebooks.USUAL`, a bar in notebooks, and the
command line brings one for terminals and one for log files.
"""

from __future__ import annotations

from typing import Protocol


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


def duration(seconds: float) -> str:
    """For example "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"

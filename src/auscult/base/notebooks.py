"""What Jupyter shows: objects as small tables, and progress where nobody chose another."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from auscult.base.progress import SILENT, Progress, duration
from auscult.base.showing import cleaned

SECONDS_BETWEEN_UPDATES = 0.2
# Colours come from the notebook's own theme, light or dark; nothing is loaded and no script runs.
_STYLE = (
    "border-collapse:collapse;margin:.4em 0",
    "text-align:left;vertical-align:top;padding:.15em 1em .15em 0;font-weight:600",
    "text-align:left;vertical-align:top;padding:.15em 0;white-space:normal",
)

Rows = Iterable[tuple[str, str]]


def card(
    title: str,
    rows: Rows,
    folded: Sequence[tuple[str, Rows]] = (),
    sentences: Iterable[str] = (),
) -> str:
    """A title over a table of two columns, and tables that unfold.

    Parameters
    ----------
    title : str
    rows : iterable of (str, str)
        Plain text: it is escaped here, and what could hide in it is spelled out.
    folded : sequence of (str, rows)
        Further tables, each under a line that unfolds it.
    sentences : iterable of str
        Between title and table.
    """
    parts = [f"<strong>{_text(title)}</strong>"]
    parts += [f"<p>{_text(one)}</p>" for one in sentences]
    parts.append(_table(rows))
    parts += [
        f"<details><summary>{_text(name)}</summary>{_table(inner)}</details>"
        for name, inner in folded
    ]
    return f'<div class="auscult">{"".join(parts)}</div>'


def _table(rows: Rows) -> str:
    whole, name_style, value_style = _STYLE
    cells = "".join(
        f'<tr><th scope="row" style="{name_style}">{_text(name)}</th>'
        f'<td style="{value_style}">{_text(value)}</td></tr>'
        for name, value in rows
        if value
    )
    return f'<table style="{whole}">{cells}</table>'


def _text(text: str) -> str:
    return html.escape(cleaned(text))


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    return any(one.__name__ == "ZMQInteractiveShell" for one in type(_shell()).__mro__)


def _shell() -> Any:  # noqa: ANN401
    told = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return None if told is None else told()


class NotebookBar:
    """A bar per stage with elapsed and remaining time, drawn with IPython alone."""

    def __init__(self) -> None:
        self._shown: Any = None
        self._label, self._total, self._done = "", 0.0, 0.0
        self._started = self._drawn = 0.0
        self._at_start: float | None = None

    def start(self, label: str, total: float) -> None:
        """Begin a stage."""
        self._label, self._total, self._done = label, total, 0.0
        self._started, self._at_start = time.monotonic(), None
        self._draw()

    def advance(self, steps: float = 1.0) -> None:
        """Report steps done."""
        self._done += steps
        if self._at_start is None:  # what was there before took no time of this stage
            self._at_start = self._done
        if time.monotonic() - self._drawn >= SECONDS_BETWEEN_UPDATES:
            self._draw()

    def finish(self) -> None:
        """End the stage."""
        self._done = self._total
        self._draw(ended=True)

    def _draw(self, *, ended: bool = False) -> None:
        shows = import_module("IPython.display")  # there, or this is no notebook
        self._drawn = time.monotonic()
        spent = self._drawn - self._started
        said = f"{self._label}: {self._done:,.0f} of {self._total:,.0f}, {duration(spent)}"
        worked = self._done - (self._at_start or 0.0)
        if not ended and worked > 0 and self._total > self._done:
            left = (self._total - self._done) * spent / worked
            said += f", about {duration(left)} left"
        bar = f'<progress max="{max(self._total, 1e-9):g}" value="{self._done:g}"></progress>'
        shown = shows.HTML(f'<div class="auscult" role="status">{bar} {_text(said)}</div>')
        if self._shown is None:
            self._shown = shows.display(shown, display_id=True)
        else:
            self._shown.update(shown)


class _WhereItRuns:
    """A bar in a notebook, silence elsewhere; decided when work starts."""

    def __init__(self) -> None:
        self._chosen: Progress = SILENT
        self._cell: object = None

    def start(self, label: str, total: float) -> None:
        if in_notebook():
            # Work that failed in another cell left its bar there.
            cell = getattr(_shell(), "execution_count", None)
            if self._chosen is SILENT or cell != self._cell:
                self._chosen, self._cell = NotebookBar(), cell
        self._chosen.start(label, total)

    def advance(self, steps: float = 1.0) -> None:
        self._chosen.advance(steps)

    def finish(self) -> None:
        self._chosen.finish()
        self._chosen = SILENT


USUAL: Progress = _WhereItRuns()

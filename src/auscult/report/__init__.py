"""The report: a pure function of the summary, from aggregates to one offline HTML file.

Nothing here sees a patient, a membership or a score: it reads what `docs/summary.md` describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.report import answer
from auscult.report.html import render, write_dossier, write_report
from auscult.report.officer import officer_markdown
from auscult.report.sheet import groups_csv
from auscult.report.summary import read_summary
from auscult.report.words import plain

__all__ = [
    "groups_csv",
    "headline",
    "officer_markdown",
    "opening",
    "render",
    "write_dossier",
    "write_report",
]


def headline(summary: Mapping[str, Any]) -> str:
    """The report's first sentence, for a terminal or a log.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.

    Returns
    -------
    str
        One sentence without a full stop, for example ``17 of 6,000 patients are exposed: over many
        models, their membership can be told from non-membership with an AUC above 0.9 (95%
        interval 11 to 25); by chance alone: 0``.

    Raises
    ------
    StoreError
        The summary is damaged or of another schema.
    """
    return answer.headline(read_summary(summary)).sentence


def opening(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """What the report opens with: the answer, what one model reveals, and who is exposed.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.

    Returns
    -------
    tuple of str
        Sentences without a full stop, :func:`headline` first.

    Raises
    ------
    StoreError
        The summary is damaged or of another schema.
    """
    part = read_summary(summary)
    return (answer.headline(part).sentence, *map(plain, answer.beside(part)))

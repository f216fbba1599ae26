"""The report: a pure function of the summary, from aggregates to one offline HTML file.

Nothing here sees a patient, a membership or a score: it reads what `docs/summary.md` describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auscult.report import answer
from auscult.report.html import render, write_report
from auscult.report.officer import officer_markdown
from auscult.report.reading import read_summary
from auscult.report.sheet import groups_csv

__all__ = ["groups_csv", "headline", "officer_markdown", "render", "write_report"]


def headline(summary: Mapping[str, Any]) -> str:
    """The report's first sentence, for a terminal or a log.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.

    Returns
    -------
    str
        One sentence without a full stop, for example ``17 of 6,000 patients can be identified as
        members with an AUC above 0.9 (95% interval 11 to 25); by chance alone: 0``.

    Raises
    ------
    StoreError
        The summary is damaged or of another schema.
    """
    return answer.headline(read_summary(summary)).sentence

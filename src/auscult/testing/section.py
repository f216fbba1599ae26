"""Checks of sections of the report."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from auscult.report.elements import Section
from auscult.report.sections import SECTIONS, ReportSection, written
from auscult.report.summary import SCHEMA, Part, read_summary
from auscult.testing.failing import Subject


def check_section(section: ReportSection | str, summary: Mapping[str, Any]) -> None:
    """Check a section of the report on the summary of an audit.

    It is a function of the summary alone, which it leaves as it was; it writes blocks of the
    report; and of a summary that has nothing of its parts it writes nothing or says that nothing
    could be estimated, but never fails.

    Parameters
    ----------
    section : ReportSection or str
        Or its name.
    summary : mapping
        The contents of a ``summary.json``, with the parts that the section is about.

    Raises
    ------
    CheckError
        Names the first property that does not hold.
    """
    if isinstance(section, str):
        section = SECTIONS.get(section, "check_section")
    subject = Subject("report section", section.name)
    given = copy.deepcopy(dict(summary))
    found = _written(subject, section, read_summary(given))
    subject.need(given == summary, "it changes the summary")
    subject.need(found is not None, "it writes nothing for this summary")
    again = _written(subject, section, read_summary(copy.deepcopy(dict(summary))))
    subject.need(found == again, "it writes a different section for the same summary every time")
    if found is not None:
        subject.need(found.heading.strip() and found.short.strip(), "it has no heading")
        subject.need(found.blocks, "it has no block")
    empty = {"schema": SCHEMA}
    _written(subject, section, read_summary(empty))
    for key, value in summary.items():
        if key != "schema":
            _written(subject, section, read_summary({**summary, key: None}), f" without {key}")
            if isinstance(value, Mapping) and value:
                _written(subject, section, read_summary({**summary, key: {}}), f" without {key}")


def _written(
    subject: Subject, section: ReportSection, summary: Part, what: str = ""
) -> Section | None:
    with subject.doing(f"writing of a summary{what}"):
        return written(section, summary)

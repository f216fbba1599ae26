"""A section of the report: the attacks on records, best first."""

from __future__ import annotations

from auscult.report.elements import Paragraph, Section, Table
from auscult.report.sections import ReportSection
from auscult.report.summary import Part
from auscult.report.words import decimal


def _write(summary: Part) -> Section | None:
    """What is absent is None, never an error: a section must cope with any summary."""
    attacks = [
        (part.text("label") or name, part.number("auc"))
        for name, part in summary.items("aggregate")
    ]
    if not attacks:
        return None
    attacks.sort(key=lambda pair: -(pair[1] or 0.0))
    return Section(
        key="ranking",
        heading="Attacks, best first",
        short="Ranking",
        blocks=(
            Paragraph(text="Which attack on records does best against this recipe?"),
            Table(
                caption="Mean AUC over all targets",
                columns=("Attack", "AUC"),
                rows=tuple((label, decimal(auc)) for label, auc in attacks),
                key="ranking",
            ),
        ),
    )


RANKING = ReportSection(name="ranking", label="Attacks, best first", write=_write)

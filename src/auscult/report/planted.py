"""The section of a simulated cohort: which patients were planted, and were they found?"""

from __future__ import annotations

from auscult.report.elements import Block, Paragraph, Section, Table
from auscult.report.summary import Part
from auscult.report.words import counted, decimal, share, whole


def planted_section(summary: Part) -> Section | None:
    """Planted patients beside the others; None for a real cohort, whose truth nobody knows."""
    part = summary.part("planted")
    if not part:
        return None
    threshold = f"{part.number('threshold') or 0.0:g}"
    sides = (("Planted", part.part("planted")), ("All others", part.part("others")))
    planted = sides[0][1]
    found, total = planted.number("found"), planted.number("patients")
    rows = []
    for name, side in sides:
        patients, above = side.number("patients"), side.number("found")
        rate = None if not patients or above is None else above / patients
        rows.append(
            (name, whole(patients), whole(above), share(rate), decimal(side.number("mean_auc")))
        )
    blocks: list[Block] = [
        Paragraph(
            text=f"This cohort is simulated, so the truth is known. {counted(total, 'patient')} "
            f"were planted: {part.text('what').rstrip('.') or 'not described'}."
        ),
        Table(
            caption=f"Found: patients with an estimated AUC above {threshold}",
            columns=("Patients", "Number", "Found", "Share found", "Mean of the estimates"),
            rows=tuple(rows),
            notes=(
                (
                    f"The attack was not told who was planted. It found {whole(found)} of "
                    f"{whole(total)}. Found: the patient's own estimate lies above {threshold}; "
                    "the headline counts expected patients instead, so the two need not agree. "
                    "The truth is known from the simulation, so it has no interval."
                ),
            ),
            key="planted",
        ),
    ]
    return Section(
        key="planted",
        heading="What was planted, and what was found",
        short="Planted",
        blocks=tuple(blocks),
    )

"""The section on precision: does the ranking repeat, and what would more models buy?"""

from __future__ import annotations

from auscult.report.elements import Block, Heading, Paragraph, Section, Table
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    counted,
    decimal,
    interval,
    sentence,
    share,
    share_interval,
    whole,
    with_interval,
)


def precision_section(summary: Part) -> Section | None:
    """How well the ranking repeats and how many models a finer answer needs; None without both."""
    patients = summary.part("patients")
    models = summary.part("models").number("count")
    blocks = [
        *_stability(patients.part("stability")),
        *_planning(patients.parts("planning"), models),
    ]
    if not blocks:
        return None
    return Section(
        key="precision",
        heading="How precise is this, and what would more models buy?",
        short="Precision",
        blocks=tuple(blocks),
    )


def _stability(stability: Part) -> list[Block]:
    if not stability:
        return []
    rank, overlap = stability.part("rank_agreement"), stability.part("top_1_percent_overlap")
    rows = []
    if rank.number("estimate") is not None:
        rows.append(
            (
                "Agreement of the two rankings",
                with_interval(
                    decimal(rank.number("estimate"), 2),
                    interval(rank.number("low"), rank.number("high"), 2),
                ),
                "0",
            )
        )
    if overlap.number("estimate") is not None:
        top = overlap.number("patients")
        rows.append(
            (
                "Overlap of the 1% most exposed" + (f", {counted(top, 'patient')}" if top else ""),
                with_interval(
                    share(overlap.number("estimate")),
                    share_interval(overlap.number("low"), overlap.number("high")),
                ),
                share(overlap.number("by_chance")),
            )
        )
    blocks: list[Block] = [Heading(text="Stability")]
    if not rows:
        because = sentence(stability.reason() or "the summary gives no reason")
        blocks.append(Paragraph(text=f"Stability: {NOT_ESTIMABLE}. {because}", style="absent"))
        return blocks
    n = stability.number("n_patients")
    blocks.append(
        Paragraph(
            text="The models were split in two halves and each half audited on its own. Where the "
            "halves agree, the same patients are at risk whichever models are drawn; where they do "
            "not, the number of exposed patients holds, but not the list of them."
        )
    )
    blocks.append(
        Table(
            caption="Do two halves of the models single out the same patients?",
            columns=("Figure", "Estimate (95% interval where given)", "By chance"),
            rows=tuple(rows),
            notes=(
                " ".join(
                    piece
                    for piece in (
                        f"n = {counted(n, 'patient')}." if n is not None else "",
                        sentence(stability.text("method")),
                    )
                    if piece
                ),
            ),
            key="stability",
        )
    )
    return blocks


def _planning(planning: tuple[Part, ...], models: float | None) -> list[Block]:
    if not planning:
        return []
    rows = []
    for part in planning:
        number = part.number("models")
        here = " (this audit)" if number is not None and number == models else ""
        rows.append((whole(number) + here, decimal(part.number("interval_width"))))
    return [
        Heading(text="Planning"),
        Table(
            caption="How wide a patient's 95% interval is, by number of models",
            columns=("Models", "Typical width, in AUC"),
            rows=tuple(rows),
            notes=(
                (
                    "For a patient of median risk. Derived from the noise of this audit: its own "
                    "row is measured, the others are predicted."
                ),
            ),
            key="planning",
        ),
    ]

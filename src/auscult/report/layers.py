"""Before and after of training without the most exposed: for them, and for everybody else."""

from __future__ import annotations

from auscult.report.changes import NOTHING, signed_count
from auscult.report.elements import (
    Block,
    Heading,
    Paragraph,
    Table,
)
from auscult.report.numbers import exposed_cell
from auscult.report.summary import Part
from auscult.report.words import (
    decimal,
    interval,
    sentence,
    whole,
    with_interval,
)


def layers(place: int, part: Part) -> list[Block]:
    """Before and after for everybody, for those left out and for those who stay."""
    layers = part.part("layers")
    gone, stay = layers.part("removed"), layers.part("remaining")
    few = bool(part.part("exposed_change").reason())

    def cell(side: Part, key: str) -> str:
        one = side.part(key).part("0.9")
        return exposed_cell(one, few)

    def mean(side: Part, key: str) -> str:
        one = side.part(key)
        return with_interval(
            decimal(one.number("estimate")), interval(one.number("low"), one.number("high"))
        )

    everybody = part.part("exposed").part("0.9")
    rows = (
        (
            "Left out",
            whole(gone.number("patients")),
            cell(gone, "before"),
            "0 (never members)",
            mean(gone, "mean_auc_before"),
            mean(gone, "mean_auc"),
        ),
        (
            "Everybody else",
            whole(stay.number("patients")),
            cell(stay, "before"),
            cell(stay, "after"),
            mean(stay, "mean_auc_before"),
            mean(stay, "mean_auc"),
        ),
        (
            "All patients",
            whole(part.number("patients")),
            cell(part, "exposed_before"),
            exposed_cell(everybody, few),
            NOTHING,
            NOTHING,
        ),
    )
    change = stay.part("change")
    low, high = change.number("low"), change.number("high")
    if low is not None and low > 0:
        meaning = "Others take the place of those who left: the next layer is exposed."
    elif high is not None and high < 0:
        meaning = "The others are less exposed without them."
    elif low is None or high is None:
        meaning = f"Whether others take their place is not known: {change.reason()}."
    else:
        meaning = "Among the others no change was measured."
    return [
        Heading(
            text=f"{part.text('name')[:1].upper()}{part.text('name')[1:]}: who is exposed then"
        ),
        Paragraph(text=f"{meaning} Exposed patients among those who stay: {signed_count(change)}."),
        Table(
            caption="Exposed patients (AUC above 0.9) before and after, counted among everybody",
            columns=(
                "Patients",
                "Number",
                "Exposed before (95% interval)",
                "Exposed after (95% interval)",
                "Mean AUC before (95% interval)",
                "Mean AUC after (95% interval)",
            ),
            rows=rows,
            notes=(
                sentence(layers.text("method")),
                sentence(gone.reason()),
            ),
            key=f"layers-{place}",
        ),
    ]

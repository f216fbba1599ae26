"""The section on the number of records: does more evidence per patient mean more risk?"""

from __future__ import annotations

from auscult.report.answer import why_not
from auscult.report.elements import (
    Block,
    Figure,
    IntervalChart,
    Key,
    Paragraph,
    Point,
    Row,
    Section,
    Table,
)
from auscult.report.figures.axes import share_axis
from auscult.report.numbers import bounds_only
from auscult.report.summary import Part
from auscult.report.words import (
    FEW,
    FEW_NOTE,
    NOT_ESTIMABLE,
    counted,
    decimal,
    sentence,
    share,
    share_interval,
    share_of_few,
    whole,
    with_interval,
)


def records_section(summary: Part) -> Section | None:
    """Risk by how many records a patient has; None where the summary has no bands."""
    bands = summary.part("patients").parts("by_records")
    if not bands:
        return None
    blocks: list[Block] = [
        Paragraph(
            text="The patient is the unit: the attacker uses all of a patient's records at once. "
            "More records provide more evidence, so the risk is shown by number of records."
            + _withheld(summary)
        )
    ]
    known = tuple(band for band in bands if band.number("exposed_0.9") is not None)
    if bounds_only(summary):
        because = sentence(summary.part("patients").text("few_models"))
        blocks.append(
            Paragraph(
                text=f"Shares of patients above 0.9: {NOT_ESTIMABLE}. {because}", style="absent"
            )
        )
        blocks.append(_records_table(bands, bounded=False, few=True))
    elif known:
        blocks.append(_records_figure(bands, known))
    else:
        blocks.append(
            Paragraph(
                text=f"Risk by number of records: {NOT_ESTIMABLE}. {sentence(why_not(summary))}",
                style="absent",
            )
        )
    return Section(
        key="records",
        heading="Do more records mean more risk?",
        short="Records",
        blocks=tuple(blocks),
    )


def _withheld(summary: Part) -> str:
    withheld = summary.part("cohort").part("withheld")
    if not withheld:
        return ""
    return (
        f" The {counted(withheld.number('records'), 'record')} that were kept out of every "
        "training do not count here."
    )


def _records_figure(bands: tuple[Part, ...], known: tuple[Part, ...]) -> Figure:
    with_study = any(band.number("study_exposed_0.9") is not None for band in known)
    rows = []
    for band in known:
        points = [
            Point(
                value=band.number("exposed_0.9"),
                low=band.number("exposed_0.9_low"),
                high=band.number("exposed_0.9_high"),
                title=f"Above 0.9: {share(band.number('exposed_0.9'))}",
            )
        ]
        study = band.number("study_exposed_0.9")
        if study is not None:
            points.append(
                Point(value=study, style="study", title=f"Study's maximum: {share(study)}")
            )
        rows.append(
            Row(
                label=_band_name(band),
                note=counted(band.number("patients"), "patient"),
                points=tuple(points),
            )
        )
    values = [
        value
        for row in rows
        for point in row.points
        for value in (point.value, point.high)
        if value is not None
    ]
    legend = [Key(name="Share of patients above 0.9", style="main", shape="point")]
    if with_study:
        legend.append(Key(name="The same by the study's maximum", style="study", shape="point"))
    bounded = any(band.number("exposed_0.9_low") is not None for band in known)
    total = sum(band.number("patients") or 0.0 for band in known)
    return Figure(
        key="records",
        name="Share of patients above 0.9, by number of records",
        plot=IntervalChart(
            axis=share_axis("Share of patients with an AUC above 0.9", high=max(values)),
            rows=tuple(rows),
        ),
        legend=tuple(legend),
        sentence=_records_sentence(known),
        small_print=f"n = {counted(total, 'patient')}. "
        + ("Whiskers: 95% interval. " if bounded else "The summary gives no interval here. ")
        + "Method: the patients' attack, as above, counted within each band.",
        table=_records_table(bands, bounded=bounded),
    )


def _records_table(bands: tuple[Part, ...], *, bounded: bool, few: bool = False) -> Table:
    optional = {
        "Mean AUC": ("raw_mean_auc", decimal),
        "Mean AUC by chance": ("null_mean_auc", decimal),
        "Above 0.9": ("exposed_0.9", share),
        "Raw above 0.9": ("raw_exposed_0.9", share_of_few),
        "Study's maximum above 0.9": ("study_exposed_0.9", share_of_few),
        "Study's mean AUC by chance": ("study_null_mean", decimal),
    }
    kept = {
        name: (key, form)
        for name, (key, form) in optional.items()
        if any(band.number(key) is not None for band in bands) and not (few and name == "Above 0.9")
    }
    rows = []
    for band in bands:
        cells = [band.text("records"), whole(band.number("patients"))]
        for name, (key, form) in kept.items():
            cell = form(band.number(key))
            if name == "Above 0.9" and bounded:
                ends = (band.number("exposed_0.9_low"), band.number("exposed_0.9_high"))
                cell = with_interval(cell, share_interval(*ends))
            if form is share_of_few and not band.number("patients"):
                cell = NOT_ESTIMABLE
            cells.append(cell)
        rows.append(tuple(cells))
    notes = ["By chance: after each patient's membership was shuffled over the models."]
    if any(FEW in row for row in rows):
        notes.append(FEW_NOTE)
    if any(band.number("patients") == 0 for band in bands):
        notes.append("Not estimable: no patient has that many records.")
    notes += [
        f"{_band_name(band).capitalize()}: {sentence(band.reason())}"
        for band in bands
        if band.reason()
    ]
    return Table(
        caption="Risk by number of records per patient",
        columns=("Records", "Patients", *kept),
        rows=tuple(rows),
        notes=tuple(notes),
        key="records",
    )


def _records_sentence(known: tuple[Part, ...]) -> str:
    first, last = known[0], known[-1]
    text = (
        f"{share(first.number('exposed_0.9'))} of the patients with {_band_name(first)} "
        f"lie above 0.9"
    )
    if first is not last:
        text += f", and {share(last.number('exposed_0.9'))} of those with {_band_name(last)}"
    return text + "."


def _band_name(band: Part) -> str:
    records = band.text("records")
    return f"{records} record" if records == "1" else f"{records} records"

"""Sections about patients: the whole curve, the number of records, how stable the ranking is."""

from __future__ import annotations

import math
from collections.abc import Iterable

from auscult.report.answer import assessed, main_row, strongest_attack, why_not
from auscult.report.axes import linear_axis, share_axis, thinned
from auscult.report.blocks import (
    Block,
    Figure,
    Heading,
    IntervalChart,
    Key,
    LineChart,
    Mark,
    Number,
    Paragraph,
    Point,
    Row,
    Section,
    Series,
    Table,
)
from auscult.report.reading import Part
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

COMMON_FROM = 0.1
"""Where more patients than this share are exposed, a linear axis shows them better."""

_CURVES = (
    ("joint", "Patients (headline estimate)"),
    ("null", "By chance alone"),
    ("raw", "Raw estimate"),
    ("study", "Study's maximum over records"),
)


def survival_section(summary: Part) -> Section:
    """Share of patients above every AUC, beside chance and the aggregate."""
    blocks: list[Block] = [
        Paragraph(
            text="An average over all records can look like a coin flip while some patients are "
            "identified almost surely. So here is every patient: the curve shows which share of "
            "them lies above each AUC."
        )
    ]
    survival = summary.part("patients").part("survival")
    grid = tuple(value for value in survival.numbers("auc") if value is not None)
    joint = survival.numbers("joint")
    if len(grid) < 2 or len(grid) != len(joint) or all(value is None for value in joint):
        blocks.append(
            Paragraph(
                text=f"The curve over all patients: {NOT_ESTIMABLE}. {sentence(why_not(summary))}",
                style="absent",
            )
        )
    else:
        blocks.append(_survival_figure(summary, survival, grid))
    return Section(
        key="survival",
        heading="Patient by patient, not on average",
        short="Patients",
        blocks=tuple(blocks),
    )


def _survival_figure(summary: Part, survival: Part, grid: tuple[float, ...]) -> Figure:
    curves = {
        key: values
        for key, _ in _CURVES
        if len(values := survival.numbers(key)) == len(grid)
        and any(value is not None for value in values)
    }
    low, high = survival.numbers("low"), survival.numbers("high")
    banded = len(low) == len(grid) == len(high)
    strongest = strongest_attack(summary)
    marks = []
    if strongest is not None:
        aggregate = strongest[1].number("auc") or 0.0
        marks.append(Mark(at=aggregate, label=f"Aggregate AUC {decimal(aggregate, 2)}"))
    patients = assessed(summary) or 1.0
    common = _at(grid, curves["joint"], 0.9)
    linear = common is not None and common > COMMON_FROM
    first = min([grid[0], *(mark.at for mark in marks)])
    plot = LineChart(
        x=linear_axis("AUC of the attack on the patient", math.floor(10 * first) / 10, 1.0, 0.1),
        y=share_axis(
            "Share of patients above this AUC" + ("" if linear else " (logarithmic scale)"),
            floor=None if linear else 1 / max(10.0, patients),
        ),
        series=tuple(
            Series(
                name=name,
                style=key,
                x=grid,
                y=curves[key],
                low=low if banded and key == "joint" else (),
                high=high if banded and key == "joint" else (),
            )
            for key, name in _CURVES
            if key in curves and not (key == "raw" and curves["raw"] == curves["joint"])
        ),
        marks=tuple(marks),
    )
    method = sentence(summary.part("patients").text("method"))
    band = "Band: 95% interval." if banded else "Interval: not part of this audit."
    return Figure(
        key="survival",
        name="Survival curve: share of patients whose attack AUC exceeds each value",
        plot=plot,
        legend=tuple(Key(name=s.name, style=s.style, shape="line") for s in plot.series),
        sentence=_survival_sentence(summary, common, strongest),
        small_print=f"n = {counted(assessed(summary), 'patient')}. {band} {method}".strip(),
        table=_survival_table(grid, curves, low if banded else (), high if banded else ()),
    )


def _survival_sentence(summary: Part, common: Number, strongest: tuple[str, Part] | None) -> str:
    row = main_row(summary)
    if strongest is None:
        average = ""
    else:
        name, part = strongest
        average = (
            f", while {name}, the strongest attack over all records, "
            f"has an AUC of {decimal(part.number('auc'), 2)}"
        )
    if row is not None and row.clear is False:
        return (
            f"Above {row.name} the curve of the patients does not rise clear of the curve that "
            f"chance alone gives{average}."
        )
    return f"{share(common)} of the patients lie above 0.9{average}."


def _survival_table(
    grid: tuple[float, ...],
    curves: dict[str, tuple[Number, ...]],
    low: tuple[Number, ...],
    high: tuple[Number, ...],
) -> Table:
    kept = thinned(len(grid), 26)
    names = [(key, name) for key, name in _CURVES if key in curves]
    columns = ["AUC above", names[0][1] + (", with 95% interval" if low else "")]
    columns += [name for _, name in names[1:]]
    rows = []
    for place in kept:
        cells = [decimal(grid[place], 2), share(curves["joint"][place])]
        if low:
            cells[1] = with_interval(cells[1], share_interval(low[place], high[place]))
        cells += [share(curves[key][place]) for key, _ in names[1:]]
        rows.append(tuple(cells))
    note = f"{len(kept)} of the curve's {len(grid)} points." if len(kept) < len(grid) else ""
    return Table(
        caption="Share of patients above each AUC",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(note,) if note else (),
        key="survival",
    )


def _at(grid: tuple[float, ...], values: Iterable[Number], wanted: float) -> Number:
    """The value at the grid's point nearest to `wanted`."""
    return min(zip(grid, values, strict=True), key=lambda pair: abs(pair[0] - wanted))[1]


def records_section(summary: Part) -> Section | None:
    """Risk by how many records a patient has; None where the summary has no bands."""
    bands = summary.part("patients").parts("by_records")
    if not bands:
        return None
    blocks: list[Block] = [
        Paragraph(
            text="The patient is the unit: the attacker uses all of a patient's records at once. "
            "More records are more evidence, so the number of records is shown on its own."
        )
    ]
    if any(band.number("exposed_0.9") is not None for band in bands):
        blocks.append(_records_figure(bands))
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


def _records_figure(bands: tuple[Part, ...]) -> Figure:
    with_study = any(band.number("study_exposed_0.9") is not None for band in bands)
    rows = []
    for band in bands:
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
    bounded = any(band.number("exposed_0.9_low") is not None for band in bands)
    total = sum(band.number("patients") or 0.0 for band in bands)
    return Figure(
        key="records",
        name="Share of patients above 0.9, by number of records",
        plot=IntervalChart(
            axis=share_axis("Share of patients with an AUC above 0.9", high=max(values)),
            rows=tuple(rows),
        ),
        legend=tuple(legend),
        sentence=_records_sentence(bands),
        small_print=f"n = {counted(total, 'patient')}. "
        + ("Whiskers: 95% interval. " if bounded else "Interval: not part of this audit. ")
        + "By chance: mean AUC after each patient's membership was shuffled over the models.",
        table=_records_table(bands, bounded=bounded),
    )


def _records_table(bands: tuple[Part, ...], *, bounded: bool) -> Table:
    optional = {
        "Raw mean AUC": ("raw_mean_auc", decimal),
        "By chance": ("null_mean_auc", decimal),
        "Above 0.9": ("exposed_0.9", share),
        "Raw above 0.9": ("raw_exposed_0.9", share),
        "Study's maximum above 0.9": ("study_exposed_0.9", share),
    }
    kept = {
        name: (key, form)
        for name, (key, form) in optional.items()
        if any(band.number(key) is not None for band in bands)
    }
    rows = []
    for band in bands:
        cells = [
            band.text("records"),
            whole(band.number("patients")),
            decimal(band.number("mean_auc")),
        ]
        for name, (key, form) in kept.items():
            cell = form(band.number(key))
            if name == "Above 0.9" and bounded:
                ends = (band.number("exposed_0.9_low"), band.number("exposed_0.9_high"))
                cell = with_interval(cell, share_interval(*ends))
            cells.append(cell)
        rows.append(tuple(cells))
    return Table(
        caption="Risk by number of records per patient",
        columns=("Records", "Patients", "Mean AUC", *kept),
        rows=tuple(rows),
        key="records",
    )


def _records_sentence(bands: tuple[Part, ...]) -> str:
    known = [band for band in bands if band.number("exposed_0.9") is not None]
    first, last = known[0], known[-1]
    text = (
        f"{share(first.number('exposed_0.9'))} of the patients with {_band_name(first)} "
        f"lie above 0.9"
    )
    if first is not last:
        text += f", and {share(last.number('exposed_0.9'))} of those with {_band_name(last)}"
    nulls = [value for band in known if (value := band.number("null_mean_auc")) is not None]
    if nulls:
        chance = decimal(min(nulls))
        if decimal(max(nulls)) != chance:
            chance = f"between {chance} and {decimal(max(nulls))}"
        text += f"; by chance alone the mean AUC is {chance}, whatever the number of records"
    return text + "."


def _band_name(band: Part) -> str:
    records = band.text("records")
    return f"{records} record" if records == "1" else f"{records} records"


def stability_section(summary: Part) -> Section | None:
    """How well the ranking repeats and how many models a finer answer needs; None without both."""
    patients = summary.part("patients")
    blocks = [*_stability(patients.part("stability")), *_planning(patients.parts("planning"))]
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
    if rank:
        rows.append(
            (
                "Rank agreement",
                decimal(rank.number("estimate"), 2),
                interval(rank.number("low"), rank.number("high"), 2),
                decimal(rank.number("by_chance"), 2)
                if rank.number("by_chance") is not None
                else "0",
            )
        )
    if overlap:
        rows.append(
            (
                "Overlap of the 1% most exposed",
                share(overlap.number("estimate")),
                share_interval(overlap.number("low"), overlap.number("high")),
                share(overlap.number("by_chance")),
            )
        )
    if not rows:
        return [
            Paragraph(text=f"Stability: {NOT_ESTIMABLE}. {sentence(stability.reason())}".strip())
        ]
    return [
        Heading(text="Stability"),
        Table(
            caption="Do two halves of the models single out the same patients?",
            columns=("Figure", "Estimate", "95% interval", "By chance"),
            rows=tuple(rows),
            notes=(sentence(stability.text("method")),) if stability.text("method") else (),
            key="stability",
        ),
    ]


def _planning(planning: tuple[Part, ...]) -> list[Block]:
    if not planning:
        return []
    return [
        Heading(text="Planning"),
        Table(
            caption="Width of a patient's 95% interval, by number of models",
            columns=("Models", "Typical width of the interval of a patient's AUC"),
            rows=tuple(
                (whole(part.number("models")), decimal(part.number("interval_width")))
                for part in planning
            ),
            key="planning",
        ),
    ]

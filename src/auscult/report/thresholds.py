"""Under the answer: patients above each threshold, as a field of dots and as a table."""

from __future__ import annotations

import itertools

from auscult.report.answer import HEADLINE_THRESHOLD, Exposed, assessed, exposed_at, why_not
from auscult.report.elements import (
    Block,
    DotField,
    Figure,
    Key,
    Number,
    Panel,
    Paragraph,
    Section,
    Table,
)
from auscult.report.numbers import bounds_only, patients_cell, share_of_patients
from auscult.report.one_model import one_model_table
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    Fewer,
    count_interval,
    counted,
    expected,
    sentence,
    whole,
    with_interval,
)

MOST_DOTS = 1000
"""A field of more dots than this stands for the cohort in thousandths."""

_LEVELS = ((0.9, "level-4"), (0.8, "level-3"), (0.6, "level-2"))
_REST = "level-1"


def exposed_section(summary: Part) -> Section:
    """How many patients at which threshold, as a picture and as a table."""
    rows = exposed_at(summary)
    blocks: list[Block] = []
    field = dot_figure(summary, rows)
    if field is not None:
        blocks.append(field)
    if any(row.estimate is not None for row in rows):
        blocks.append(thresholds_table(summary, rows))
    else:
        blocks.append(
            Paragraph(
                text=f"Patients above each threshold: {NOT_ESTIMABLE}. "
                f"{sentence(why_not(summary))}",
                style="absent",
            )
        )
    one = one_model_table(summary)
    if one is not None:
        blocks.append(one)
    return Section(
        key="exposed",
        heading="How many patients are exposed",
        short="Exposed",
        blocks=tuple(blocks),
    )


def thresholds_table(summary: Part, rows: tuple[Exposed, ...]) -> Table:
    """Patients above each threshold, beside what chance and the study's figure give."""
    patients, few = assessed(summary), bounds_only(summary)
    columns = ["AUC above", "Patients (95% interval)", "Share", "By chance"]
    optional = {
        "Confirmed": any(row.confirmed is not None for row in rows),
        "Raw (by chance)": any(row.raw is not None for row in rows),
        "Study's maximum (by chance)": any(row.study is not None for row in rows),
    }
    shown = [name for name, there in optional.items() if there]
    cells = []
    for row in rows:
        more = {
            "Confirmed": whole(row.confirmed),
            "Raw (by chance)": with_interval(expected(row.raw), expected(row.raw_null)),
            "Study's maximum (by chance)": with_interval(
                expected(row.study), expected(row.study_null)
            ),
        }
        cells.append(
            (
                row.name,
                patients_cell(row.estimate, row.low, row.high, few),
                NOT_ESTIMABLE if few else share_of_patients(row.estimate, patients),
                expected(row.null),
                *(more[name] for name in shown),
            )
        )
    notes = [
        (
            "Patients: the expected number above the threshold. By chance: the same analysis after "
            "each patient's membership was shuffled over the models."
        )
    ]
    if few:
        notes = [f"Only bounds: {summary.part('patients').text('few_models')}.", *notes]
    base = summary.part("patients").number("counts_rounded_to")
    if base and {"Confirmed", "Raw (by chance)"} & set(shown):
        notes.append(f"Numbers of patients other than the expected are rounded to {whole(base)}.")
    if "Confirmed" in shown:
        notes.append(
            "Confirmed: patients whose own measurements alone reject an AUC at or below the "
            "threshold (false discovery rate 5%). A conservative count; it grows with more models."
        )
    if "Raw (by chance)" in shown:
        notes.append("Raw: the estimates as measured, before any shrinkage.")
    if "Study's maximum (by chance)" in shown:
        notes.append(
            "Study's maximum: highest AUC over a patient's records, as in Knolle et al. 2026. It "
            "grows with the number of records even without leakage; for comparison only."
        )
    missing = [f"above {row.name}: {row.reason}" for row in rows if row.reason]
    if missing:
        notes.append(f"Not estimable {'; '.join(missing)}.")
    method = summary.part("patients").text("method")
    notes.append(f"n = {counted(patients, 'patient')}. {sentence(method)}".strip())
    return Table(
        caption="Patients whose membership can be told with an AUC above each threshold",
        columns=(*columns, *shown),
        rows=tuple(cells),
        notes=tuple(notes),
        key="thresholds",
    )


def dot_figure(summary: Part, rows: tuple[Exposed, ...]) -> Figure | None:
    """One dot per patient, or the cohort in thousandths: the models beside chance alone."""
    patients = assessed(summary)
    by_threshold = {row.threshold: row for row in rows}
    levels = [
        (by_threshold[at], style)
        for at, style in _LEVELS
        if at in by_threshold and by_threshold[at].estimate is not None
    ]
    if not patients or not levels or levels[0][0].name != HEADLINE_THRESHOLD:
        return None
    if bounds_only(summary) or any(isinstance(row.estimate, Fewer) for row, _ in levels):
        return None  # a dot would stand for a patient who is not counted
    dots = int(min(patients, MOST_DOTS))
    panels = [_panel("These models", [(row.estimate, style) for row, style in levels], patients)]
    nulls = [(row.null, style) for row, style in levels]
    with_null = all(null is not None for null, _ in nulls)
    if with_null:
        panels.append(_panel("By chance alone", nulls, patients))
    of = f"Of {dots:,} patients" if dots == patients else f"Of every {dots:,} patients"
    rate = [dots * (row.estimate or 0) / patients for row, _ in levels]
    chance = f" (by chance alone: {expected(dots * (nulls[0][0] or 0) / patients)})"
    text = (
        f"{of}, {expected(rate[0])} lie above {levels[0][0].name}{chance if with_null else ''} and "
        f"{expected(dots - rate[-1])} at or below {levels[-1][0].name}."
    )
    names = [f"AUC above {levels[0][0].name}"]
    names += [
        f"{after.name} to {before.name}" for (before, _), (after, _) in itertools.pairwise(levels)
    ]
    names.append(f"{levels[-1][0].name} or less")
    styles = [*(style for _, style in levels), _REST]
    columns = ("AUC", *(panel.title for panel in panels))
    table_rows = tuple(
        (name, *(f"{panel.dots[place][1]:,}" for panel in panels))
        for place, name in enumerate(names)
    )
    row = levels[0][0]
    return Figure(
        key="dots",
        name=f"Field of {dots:,} dots: patients by how well their membership can be told",
        plot=DotField(panels=tuple(panels)),
        legend=tuple(
            Key(name=name, style=style, shape="dot")
            for name, style in zip(names, styles, strict=True)
        ),
        sentence=text,
        small_print=f"n = {counted(patients, 'patient')}. 95% interval above {row.name}: "
        f"{count_interval(row.low, row.high)} patients. {_rounding(dots, patients)}",
        table=Table(
            caption="Number of dots of each kind", columns=columns, rows=table_rows, key="dots"
        ),
    )


def _rounding(dots: int, patients: float) -> str:
    if dots == patients:
        return "One dot is one patient; expected numbers are rounded to whole patients."
    return f"One dot stands for {patients / dots:.1f} patients; fewer than half a dot is not drawn."


def _panel(title: str, counts: list[tuple[Number, str]], patients: float) -> Panel:
    dots = int(min(patients, MOST_DOTS))
    drawn, found = 0, []
    for count, style in counts:
        upto = max(drawn, min(dots, int(dots * (count or 0.0) / patients + 0.5)))
        found.append((style, upto - drawn))
        drawn = upto
    return Panel(title=title, dots=(*found, (_REST, dots - drawn)))

"""The section on all patients: the whole curve, its mean and its quantiles, and low error rates."""

from __future__ import annotations

import math
from collections.abc import Iterable

from auscult.report.answer import assessed, main_row, strongest_attack, why_not
from auscult.report.elements import (
    Block,
    Figure,
    Key,
    LineChart,
    Mark,
    Number,
    Paragraph,
    Section,
    Series,
    Table,
)
from auscult.report.figures.axes import false_positive_rate, linear_axis, share_axis, thinned
from auscult.report.numbers import bounds_only
from auscult.report.summary import Part
from auscult.report.words import (
    FEW,
    FEW_NOTE,
    NOT_ESTIMABLE,
    Fewer,
    counted,
    decimal,
    interval,
    sentence,
    share,
    share_interval,
    share_of_few,
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
            text="An average over all records can look like a coin flip while the membership of "
            "some patients can be told almost with certainty. The curve therefore covers "
            "every patient: it shows the share that lies above each AUC."
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
    blocks += [*_summary_table(summary), *_low_error_table(summary)]
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
    if bounds_only(summary):  # bounds, and no line between them
        curves["joint"] = tuple(None for _ in grid)
    banded = len(low) == len(grid) == len(high)
    strongest = strongest_attack(summary)
    marks = []
    if strongest is not None:
        aggregate = strongest[1].number("auc") or 0.0
        marks.append(Mark(at=aggregate, label=f"Aggregate AUC {decimal(aggregate, 2)}"))
    patients = assessed(summary) or 1.0
    common = _at(grid, survival.numbers("joint"), 0.9)
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
    band = "Band: 95% interval." if banded else "The summary gives no interval here."
    return Figure(
        key="survival",
        name="Survival curve: share of patients whose attack AUC exceeds each value",
        plot=plot,
        legend=tuple(Key(name=s.name, style=s.style, shape="line") for s in plot.series),
        sentence=_survival_sentence(summary, common, strongest),
        small_print=f"n = {counted(assessed(summary), 'patient')}. {band} "
        "Method: that of the table of thresholds above.",
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
            f"Above {row.name} the curve of the patients does not rise above the curve expected "
            f"by chance alone{average}."
        )
    if row is not None and bounds_only(summary) and row.low is not None:
        of = assessed(summary) or 1.0
        return (
            f"Between {share(row.low / of)} and {share((row.high or 0.0) / of)} of the patients "
            f"lie above 0.9: with so few models only bounds are known{average}."
        )
    found = f"{share(common)} of the" if common is not None else "Too few to be shown of the"
    if common is None and row is not None and isinstance(row.estimate, Fewer):
        found = f"{row.estimate.words.capitalize()}"
    return f"{found} patients lie above 0.9{average}."


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
        cells += [
            (share if key == "null" else share_of_few)(curves[key][place]) for key, _ in names[1:]
        ]
        rows.append(tuple(cells))
    note = f"{len(kept)} of the curve's {len(grid)} points." if len(kept) < len(grid) else ""
    return Table(
        caption="Share of patients above each AUC",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(
            *([note] if note else []),
            *([FEW_NOTE] if any(FEW in row for row in rows) else []),
        ),
        key="survival",
    )


def _at(grid: tuple[float, ...], values: Iterable[Number], wanted: float) -> Number:
    """The value at the grid's point nearest to `wanted`."""
    return min(zip(grid, values, strict=True), key=lambda pair: abs(pair[0] - wanted))[1]


def _summary_table(summary: Part) -> list[Block]:
    """Mean and quantiles of the patients' AUCs, each estimate beside chance."""
    patients = summary.part("patients")
    rows = []
    for key, name in (
        ("auc", "Headline estimate"),
        ("raw", "Raw estimate"),
        ("study", "Study's maximum over records"),
    ):
        part = patients.part(key)
        mean = part.number("mean")
        if mean is None:
            continue
        rows.append(
            (
                name,
                with_interval(
                    decimal(mean), interval(part.number("mean_low"), part.number("mean_high"))
                ),
                _or_dash(part.number("median")),
                _or_dash(part.number("q99")),
                _or_dash(part.number("null_mean")),
            )
        )
    if not rows:
        return []
    return [
        Table(
            caption="AUC of the attack on a patient, over all patients",
            columns=(
                "Estimate",
                "Mean (95% interval)",
                "Median",
                "99th percentile",
                "Mean by chance",
            ),
            rows=tuple(rows),
            notes=(
                (
                    f"n = {counted(assessed(summary), 'patient')}. A dash: the summary does not "
                    "give this figure. A mean by chance above 0.5 means that the estimate is too "
                    "high even without any leakage. The mean of the headline estimate is that of "
                    "the AUCs as counted, which is unbiased."
                ),
            ),
            key="patients",
        )
    ]


def _low_error_table(summary: Part) -> list[Block]:
    """What an attacker finds who must rarely be wrong, averaged over patients."""
    rates = tuple(summary.part("patients").items("tpr_at_fpr"))
    if not rates:
        return []
    methods = dict.fromkeys(part.text("method") for _, part in rates if part.text("method"))
    return [
        Table(
            caption="An attacker who must rarely be wrong",
            columns=("False positive rate", "True positive rate (95% interval)", "Patients"),
            rows=tuple(
                (
                    false_positive_rate(name)
                    + (" (extrapolated)" if part.truth("extrapolated") else ""),
                    NOT_ESTIMABLE + (f": {part.text('reason')}" if part.text("reason") else "")
                    if part.number("mean") is None
                    else with_interval(
                        share(part.number("mean")),
                        share_interval(part.number("low"), part.number("high")),
                    ),
                    whole(part.number("n")),
                )
                for name, part in rates
            ),
            notes=(
                (
                    "True positive rate: of the models that trained on a patient, the share that "
                    "is recognised, averaged over patients, at a threshold that wrongly accuses "
                    "the given share of the other models on average."
                ),
                *(sentence(method) for method in methods),
            ),
            key="low-error",
        )
    ]


def _or_dash(value: Number) -> str:
    return "\N{EN DASH}" if value is None else decimal(value)

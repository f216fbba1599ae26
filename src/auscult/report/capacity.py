"""What a larger model exposes: the section of a sweep."""

from __future__ import annotations

import math

from auscult.report.answer import assessed
from auscult.report.changes import axis_of, change_cell, utility_name
from auscult.report.elements import (
    Axis,
    Block,
    Figure,
    Key,
    Paragraph,
    Point,
    ScatterChart,
    Section,
    Spot,
    Table,
)
from auscult.report.figures.scatter import drawable
from auscult.report.numbers import bounds_only, exposed_cell, exposed_point, patients_cell
from auscult.report.summary import Part
from auscult.report.words import (
    counted,
    decimal,
    expected,
    interval,
    listed,
    quoted,
    sentence,
    whole,
    with_interval,
)


def sweep_section(summary: Part) -> Section | None:
    """Exposed patients against capacity; None where no sizes were compared."""
    sweep = summary.part("sweep")
    points = sweep.parts("points")
    if not points:
        return None
    metric = utility_name(summary)
    spots = tuple(
        spot
        for number, part in enumerate(points, start=1)
        if drawable(
            spot := Spot(
                mark=str(number),
                x=Point(value=part.number("parameters")),
                y=exposed_point(part.part("exposed").part("0.9"), bounds_only(summary)),
                style="main" if part.truth("base") else "first",
                title=part.text("name"),
            )
        )
    )
    blocks: list[Block] = [
        Paragraph(
            text="The same audit with models of other sizes, on the same draw of members: what "
            "capacity costs in privacy, and what it buys."
        )
    ]
    if len({spot.x.value for spot in spots}) > 1:
        blocks.append(_capacity_figure(summary, spots))
    else:
        blocks.append(
            Paragraph(
                text="No figure: the recipe does not report its number of parameters, or all "
                "sizes have the same number.",
                style="note",
            )
        )
    blocks.append(_sweep_table(summary, points, metric))
    return Section(
        key="sweep",
        heading="Exposed patients against capacity",
        short="Capacity",
        blocks=tuple(blocks),
    )


def _capacity_figure(summary: Part, spots: tuple[Spot, ...]) -> Figure:
    values = [spot.x.value or 1.0 for spot in spots]
    first, last = min(spots, key=_parameters), max(spots, key=_parameters)
    legend = []
    if any(spot.style == "main" for spot in spots):
        legend.append(Key(name="The audited recipe", style="main", shape="point"))
    if any(spot.style == "first" for spot in spots):
        legend.append(Key(name="Other sizes", style="first", shape="point"))
    models = counted(summary.part("models").number("count"), "model")
    names = listed([f"{spot.mark}: {quoted(spot.title)}" for spot in spots], most=99)
    return Figure(
        key="capacity",
        name="Exposed patients against the number of parameters",
        plot=ScatterChart(
            x=_log_axis("Parameters (logarithmic scale)", min(values), max(values)),
            y=axis_of("Exposed patients (AUC above 0.9)", [s.y for s in spots], floor=0.0),
            spots=spots,
        ),
        legend=tuple(legend),
        sentence=f"From {whole(first.x.value)} to {whole(last.x.value)} parameters, exposed "
        f"patients go from {_cell(first)} to {_cell(last)}.",
        small_print=f"{names}. n = {counted(assessed(summary), 'patient')} and {models} each. "
        "Lines: 95% intervals.",
        table=Table(
            caption="Where the points lie",
            columns=("Size", "Parameters", "Exposed patients"),
            rows=tuple(
                (
                    f"{spot.mark}: {spot.title}",
                    whole(spot.x.value),
                    _cell(spot),
                )
                for spot in spots
            ),
            key="capacity",
        ),
    )


def _sweep_table(summary: Part, points: tuple[Part, ...], metric: str) -> Table:
    rows = []
    for number, part in enumerate(points, start=1):
        exposed, own = part.part("exposed").part("0.9"), part.part("utility")
        base = " (the audited recipe)" if part.truth("base") else ""
        rows.append(
            (
                f"{number}: {part.text('name')}{base}",
                whole(part.number("parameters")),
                exposed_cell(exposed, bounds_only(summary)),
                expected(exposed.number("null")),
                change_cell(part),
                with_interval(
                    decimal(own.number("estimate")), interval(own.number("low"), own.number("high"))
                ),
            )
        )
    method = next((part.text("method") for part in points if part.text("method")), "")
    return Table(
        caption="Sizes of the model, on the same members",
        columns=(
            "Size",
            "Parameters",
            "Exposed (95% interval)",
            "By chance",
            "Change in exposed",
            metric,
        ),
        rows=tuple(rows),
        notes=(
            "Change: against the audited recipe, paired by patient, 95% interval.",
            f"n = {counted(assessed(summary), 'patient')}. {sentence(method)}".strip(),
        ),
        key="sweep",
    )


def _cell(spot: Spot) -> str:
    return patients_cell(spot.y.value, spot.y.low, spot.y.high, spot.y.bounds_only)


def _parameters(spot: Spot) -> float:
    return spot.x.value or 0.0


def _log_axis(label: str, low: float, high: float) -> Axis:
    """Axis over powers of ten and, where there are few, their halves and fifths."""
    first, last = math.floor(math.log10(low) - 0.02), math.ceil(math.log10(high) + 0.02)
    steps = (1.0, 2.0, 5.0) if last - first <= 2 else (1.0,)
    ticks = [step * 10.0**k for k in range(first, last + 1) for step in steps]
    below = [t for t in ticks if t <= 0.95 * low] or ticks[:1]
    above = [t for t in ticks if t >= 1.05 * high] or ticks[-1:]
    kept = [t for t in ticks if below[-1] <= t <= above[0]]
    return Axis(
        label=label,
        low=kept[0],
        high=kept[-1],
        ticks=tuple((t, f"{t:,.0f}") for t in kept),
        scale="log",
    )

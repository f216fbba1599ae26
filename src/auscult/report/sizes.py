"""Exposed patients against the number of patients trained on, up to the whole cohort."""

from __future__ import annotations

from dataclasses import replace

from auscult.report.changes import NOTHING, axis_of, signed_estimate, utility_name
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
from auscult.report.figures.axes import round_axis
from auscult.report.figures.scatter import drawable
from auscult.report.numbers import (
    above_09,
    estimate_or_bounds,
    exposed_cell,
    point_between,
    whole_cohort_sentence,
)
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    count_interval,
    counted,
    decimal,
    expected,
    interval,
    sentence,
    whole,
    with_interval,
)

THRESHOLD = "0.9"
HELD = {
    "steps": (
        "Every size takes about the same number of training steps, in as many whole epochs as come "
        "nearest: what changes is what comes of more patients. A model that trains on more of them "
        "for the audit's number of epochs takes more steps than these."
    ),
    "epochs": (
        "Every size trains for the same number of epochs: with more patients an epoch has more "
        "steps, and what comes of more patients is not told apart from what comes of more steps."
    ),
    "settings": (
        "Every size trains with the same settings. Where these say how often training passes over "
        "the data, more patients also mean more steps, and what comes of either is not told apart."
    ),
}


def sizes_section(summary: Part) -> Section | None:
    """Exposed patients against the number of patients trained on; None without sizes."""
    sizes = summary.part("sizes")
    points = sizes.parts("points")
    if not points:
        return None
    all_of_them = sizes.part("whole")
    blocks: list[Block] = [
        Paragraph(
            text="The same audit with models that train on other shares of the patients, and what "
            f"follows for a model that trains on all of them. {HELD.get(sizes.text('held'), '')}"
        )
    ]
    said = whole_cohort_sentence(summary)
    if said:
        blocks.append(Paragraph(text=f"{said} (AUC above {THRESHOLD}, 95% interval in brackets)."))
    elif reason := sizes.text("doubt") or above_09(all_of_them).reason():
        blocks.append(
            Paragraph(
                text="How many a model trained on all patients exposes is not estimable: "
                f"{reason}.",
                style="absent",
            )
        )
    blocks.append(Paragraph(text=_checked(sizes, points), style="note"))
    spots = tuple(spot for spot in _spots(points, all_of_them) if drawable(spot))
    if len(spots) > 1:
        blocks.append(_figure(spots))
    blocks.append(_table(summary, points, all_of_them))
    return Section(
        key="sizes",
        heading="Trained on more of the patients",
        short="Size",
        blocks=tuple(blocks),
    )


def _checked(sizes: Part, points: tuple[Part, ...]) -> str:
    """How the law did where it could be checked."""
    left_out = sizes.part("left_out")
    predicted = above_09(left_out)
    if estimate_or_bounds(predicted) == NOT_ESTIMABLE:
        reason = sizes.text("left_out_reason") or predicted.reason() or left_out.reason()
        return f"The law by which this is carried on could not be checked here: {reason}."
    last = points[-1]
    patients = counted(last.part("trained_on").number("patients"), "patient")
    held = predicted.truth("held")
    if held is None:
        return (
            "How the law did where it could be checked is not told: a count that is withheld "
            f"would follow ({predicted.reason()})."
        )
    verdict = "which the interval holds" if held else "which the interval does not hold"
    widened = above_09(sizes.part("whole")).number("widened")
    wider = (
        f" The interval for all patients is {decimal(widened, 1)} times as wide for it."
        if widened is not None and widened >= 1.05
        else ""
    )
    return (
        f"Check: from the smaller sizes alone, {estimate_or_bounds(predicted)} exposed were "
        f"expected of models trained on {patients}; {_found(last)} were found, {verdict}.{wider}"
    )


def _found(point: Part) -> str:
    estimate = above_09(point).number("estimate")
    return whole(estimate)


def _spots(points: tuple[Part, ...], all_of_them: Part) -> list[Spot]:
    found = []
    for part, mark, style in (
        *((part, str(number), "first") for number, part in enumerate(points, start=1)),
        (all_of_them, "all", "main"),
    ):
        row = above_09(part)
        value, low, high = (row.number(key) for key in ("estimate", "low", "high"))
        few = bool(part.text("few_models")) or value is None
        trained = part.part("trained_on").number("patients")
        found.append(
            Spot(
                mark=mark,
                x=Point(value=trained),
                y=point_between(value, low, high, few),
                style=style,
                title=f"trained on {counted(trained, 'patient')}",
            )
        )
    return found


def _figure(spots: tuple[Spot, ...]) -> Figure:
    first, last = spots[0], spots[-1]
    legend = [Key(name="Models of this size", style="first", shape="point")]
    if any(spot.style == "main" for spot in spots):
        legend.append(Key(name="All patients, expected", style="main", shape="point"))
    return Figure(
        key="sizes",
        name="Exposed patients against the number of patients trained on",
        plot=ScatterChart(
            x=_patients_axis(last.x.value or 1.0),
            y=axis_of(f"Exposed patients (AUC above {THRESHOLD})", [s.y for s in spots], floor=0.0),
            spots=spots,
        ),
        legend=tuple(legend),
        sentence=f"Models trained on {whole(first.x.value)} patients expose {_cell_of(first)}; "
        f"models trained on {whole(last.x.value)} expose {_cell_of(last)}.",
        small_print="Lines: 95% intervals. The numbers at the points are the rows of the table.",
        table=Table(
            caption="Where the points lie",
            columns=("Size", "Patients trained on", "Exposed patients"),
            rows=tuple((spot.mark, whole(spot.x.value), _cell_of(spot)) for spot in spots),
            key="sizes",
        ),
    )


def _patients_axis(most: float) -> Axis:
    """From nobody to everybody, with room for the mark of the last point."""
    axis = round_axis("Patients trained on", 0.0, most)
    ticks = tuple((tick, f"{tick:,.0f}") for tick, _ in axis.ticks if tick <= 1.05 * most)
    return replace(axis, high=1.06 * most, ticks=ticks)


def _cell_of(spot: Spot) -> str:
    bounds = count_interval(spot.y.low, spot.y.high)
    return bounds if spot.y.bounds_only else with_interval(whole(spot.y.value), bounds)


def _estimate(part: Part) -> str:
    return with_interval(
        decimal(part.number("estimate")), interval(part.number("low"), part.number("high"))
    )


def _table(summary: Part, points: tuple[Part, ...], all_of_them: Part) -> Table:
    rows = []
    counted_steps = any(part.number("steps") is not None for part in points)
    for number, part in enumerate(points, start=1):
        own = " (the audited models)" if part.truth("own") else ""
        change = part.part("mean_auc_change")
        rows.append(
            (
                f"{number}: {whole(part.part('trained_on').number('patients'))}{own}",
                whole(part.number("models")),
                *((whole(part.number("steps")),) if counted_steps else ()),
                exposed_cell(above_09(part), bool(part.text("few_models"))),
                expected(above_09(part).number("null")),
                _estimate(part.part("mean_auc")),
                NOTHING if number == 1 else signed_estimate(change),
                _estimate(part.part("utility")),
            )
        )
    rows.append(
        (
            f"All {whole(all_of_them.part('trained_on').number('of'))}, expected",
            *((NOTHING, NOTHING) if counted_steps else (NOTHING,)),
            estimate_or_bounds(above_09(all_of_them)),
            NOTHING,
            _estimate(all_of_them.part("mean_auc")),
            NOTHING,
            _estimate(all_of_them.part("utility")),
        )
    )
    notes = [
        "Change: against the smallest size, paired by patient. In brackets: 95% intervals.",
        sentence(summary.part("sizes").text("method")),
    ]
    if reason := all_of_them.part("utility").reason():
        notes.insert(1, sentence(f"Utility of all patients: {reason}"))
    return Table(
        caption="Models by the number of patients that they trained on",
        columns=(
            "Patients trained on",
            "Models",
            *(("Steps",) if counted_steps else ()),
            f"Exposed (AUC above {THRESHOLD})",
            "By chance",
            "Mean AUC",
            "Change in mean AUC",
            utility_name(summary),
        ),
        rows=tuple(rows),
        notes=tuple(notes),
        key="sizes",
    )

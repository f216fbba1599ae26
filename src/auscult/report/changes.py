"""Changes and estimates as the sections on protections write them."""

from __future__ import annotations

import math

from auscult.report.answer import main_row
from auscult.report.elements import (
    Axis,
    Number,
    Point,
)
from auscult.report.figures.axes import round_axis
from auscult.report.numbers import bounds_only, exposed_cell, patients_cell
from auscult.report.summary import Part
from auscult.report.words import (
    MINUS,
    NOT_ESTIMABLE,
    Fewer,
    at_least,
    decimal,
    expected,
    interval,
    metric_name,
    quoted,
    share,
    share_interval,
    signed,
    signed_interval,
    with_interval,
)

NOTHING = "\N{EN DASH}"
FROM_ANOTHER = "without it"
OTHER_PATIENTS = "the patients who were assessed both times"


def utility_name(summary: Part) -> str:
    """Name of the metric of utility."""
    return metric_name(summary.part("models").part("utility").text("metric") or "auroc")


def point_of(part: Part) -> Point:
    """An estimate with its interval, as a point."""
    return Point(value=part.number("estimate"), low=part.number("low"), high=part.number("high"))


def axis_of(label: str, points: list[Point], floor: Number = None) -> Axis:
    """An axis that holds points with their intervals, from `floor` where it is given.

    Parameters
    ----------
    label : str
    points : list of Point
    floor : float, optional
    """
    values = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    low, high = min(values), max(values)
    return round_axis(label, low if floor is None else floor, max(high, low + 1e-3))


def signed_estimate(part: Part) -> str:
    """A difference with its sign and interval."""
    return with_interval(
        signed(part.number("estimate")), signed_interval(part.number("low"), part.number("high"))
    )


def share_of(part: Part) -> str:
    """A share with its interval."""
    return with_interval(
        share(part.number("estimate")), share_interval(part.number("low"), part.number("high"))
    )


def signed_count(part: Part, outside: Number = None) -> str:
    """A change of a count with its interval, rounded outwards.

    Parameters
    ----------
    part : Part
    outside : float, optional
        A value that the interval holds in any case.
    """
    low, high = part.number("low"), part.number("high")
    if low is None or high is None:
        return NOT_ESTIMABLE
    if outside is not None:
        low, high = min(low, outside), max(high, outside)
    ends = f"{signed_whole(math.floor(low + 1e-9))} to {signed_whole(math.ceil(high - 1e-9))}"
    return with_interval(signed_whole(part.number("estimate") or 0.0), ends)


def change_withheld(part: Part) -> bool:
    """Whether the change of exposed patients would tell a number that is too small to be shown."""
    counts = part.part("exposed").part("0.9"), part.part("exposed_before").part("0.9")
    few = any(isinstance(one.number("estimate"), Fewer) for one in counts)
    change = part.part("exposed_change")
    # Where it has a reason of its own, such as too few models, nothing is withheld.
    return few and change.number("estimate") is None and not change.reason()


def most_lost(value: float) -> str:
    """An upper bound of a loss of utility, rounded up."""
    return f"{math.ceil(1000 * value - 1e-9) / 1000:.3f}"


def not_surely_cheap(entries: tuple[Part, ...]) -> str:
    """Of protections none of which is recommended, the one that surely removes the most.

    Parameters
    ----------
    entries : tuple of Part
        One per protection.

    Returns
    -------
    str
        What it removes and may cost, to follow a colon; empty where none surely removes anybody.
    """
    able = [one for one in entries if (one.number("removed_at_least") or 0.0) > 0]
    best = max(able, key=lambda one: one.number("removed_at_least") or 0.0, default=None)
    if best is None or best.text("unsupported"):
        return ""
    lost = best.number("utility_lost_at_most")
    price = NOT_ESTIMABLE if lost is None else f"it may be up to {most_lost(lost)}"
    return (
        f"{quoted(best.text('label') or best.text('name'))} removes at least "
        f"{at_least(best.number('removed_at_least'))} of the exposed patients, but that its loss "
        f"of quality is small is not sure ({price})"
    )


def change_cell(entry: Part) -> str:
    """The change of an entry, so that it is the difference of the whole numbers beside it."""
    change = entry.part("exposed_change")
    before, after = (
        entry.part(key).part("0.9").number("estimate") for key in ("exposed_before", "exposed")
    )
    estimate = change.number("estimate")
    if estimate is None or None in (before, after):
        return signed_count(change)
    whole_numbers = math.floor((after or 0.0) + 0.5) - math.floor((before or 0.0) + 0.5)
    return signed_count(
        Part({**change.content(), "estimate": float(whole_numbers)}), outside=float(whole_numbers)
    )


def mean_auc_notes(summary: Part, entries: tuple[Part, ...]) -> list[str]:
    """Where a change in mean AUC is not from the number of the first row: from which one.

    Parameters
    ----------
    summary : Part
    entries : tuple of Part
        One per protection.
    """
    base = decimal(summary.part("patients").part("auc").number("mean"))
    notes = []
    for number, part in enumerate(entries, start=1):
        change = part.part("mean_auc_change")
        layers = part.part("layers")
        before = part.part("mean_auc_before") or layers.part("remaining").part("mean_auc_before")
        if change.number("estimate") is None or before.number("estimate") is None:
            continue
        told = {side.number("n") for side in (before, part.part("mean_auc"), change)}
        if len(told - {None}) > 1:
            notes.append(f"{number}: the change is over {OTHER_PATIENTS}.")
        elif decimal(before.number("estimate")) != base:
            ends = interval(before.number("low"), before.number("high"))
            value = with_interval(decimal(before.number("estimate")), ends)
            whom = "those who stay, on half of the models" if layers else "the same patients"
            notes.append(
                f"{number}: {value} {FROM_ANOTHER}, for {whom}: its change is from that number."
            )
    return notes


def from_another(summary: Part, part: Part) -> bool:
    """Whether a change in exposed patients is from another number than the unprotected recipe's.

    Parameters
    ----------
    summary, part : Part
        The second of the protection.
    """
    before = part.part("exposed_before").part("0.9").number("estimate")
    if before is None or part.part("exposed_change").number("estimate") is None:
        return False
    return alone(part) != base_row(summary, "")[1]


def alone(part: Part) -> str:
    """Patients exposed without a protection, where it was judged."""
    few = bool(part.part("exposed_change").reason())
    return exposed_cell(part.part("exposed_before").part("0.9"), few)


def signed_whole(value: float) -> str:
    """A change of a count with its sign and thousands separators."""
    whole_number = math.floor(abs(value) + 0.5)
    sign = "" if whole_number == 0 else MINUS if value < 0 else "+"
    return f"{sign}{whole_number:,}"


def base_row(summary: Part, base: str) -> tuple[str, ...]:
    """Counts of the unprotected recipe, or of the first run."""
    row = main_row(summary)
    if row is None:
        return (f"0: {base}", NOT_ESTIMABLE, NOT_ESTIMABLE, NOTHING, NOTHING)
    return (
        f"0: {base}",
        patients_cell(row.estimate, row.low, row.high, bounds_only(summary)),
        expected(row.null),
        NOTHING,
        NOTHING,
    )

"""Numbers of exposed patients as every section writes them: one figure, one way to say it."""

from __future__ import annotations

import math

from auscult.report.elements import Number, Point
from auscult.report.summary import Part
from auscult.report.words import (
    NOT_ESTIMABLE,
    Fewer,
    count_interval,
    counted,
    share,
    share_interval,
    whole,
    with_interval,
)


def trained_on(summary: Part) -> str:
    """How many of the patients each model trained on, in words; empty where it was not kept."""
    part = summary.part("models").part("trained_on")
    patients, of = part.number("patients"), part.number("of")
    if patients is None or of is None:
        return ""
    return f"{whole(patients)} of the {whole(of)} patients"


def models_needed(summary: Part) -> float:
    """Models from which on patients are counted: more where most models have every patient."""
    part = summary.part("models").part("trained_on")
    patients, of = part.number("patients"), part.number("of")
    if not patients or not of or patients >= of:
        return 32.0
    share = patients / of
    return max(32.0, 2.0 * math.ceil(3 / (share * (1 - share)) - 1e-9))


def bounds_only(summary: Part) -> bool:
    """Whether models are too few for an estimate, so that only bounds may be shown."""
    return bool(summary.part("patients").text("few_models"))


def patients_cell(estimate: Number, low: Number, high: Number, few: bool) -> str:
    """Exposed patients with their interval, ``17 (11 to 25)``; of few models the bounds alone.

    Parameters
    ----------
    estimate, low, high : float or None
    few : bool
        See :func:`bounds_only`.
    """
    bounds = count_interval(low, high)
    if few or estimate is None:
        return bounds
    return with_interval(whole(estimate), bounds)


def exposed_cell(part: Part, few: bool) -> str:
    """The same from an object with "estimate", "low" and "high"."""
    return patients_cell(part.number("estimate"), part.number("low"), part.number("high"), few)


def exposed_point(part: Part, few: bool) -> Point:
    """The same in a picture: of few models, and of a withheld count, the middle of its bounds."""
    value, low, high = (part.number(key) for key in ("estimate", "low", "high"))
    return point_between(value, low, high, few)


def point_between(value: Number, low: Number, high: Number, few: bool) -> Point:
    """A count as a point; see :func:`exposed_point`.

    Parameters
    ----------
    value, low, high : float or None
    few : bool
    """
    unknown = few or isinstance(value, Fewer)
    if unknown and low is not None and high is not None:
        return Point(value=(low + high) / 2, low=low, high=high, bounds_only=True)
    return Point(value=value, low=low, high=high)


def share_of_patients(estimate: Number, patients: Number) -> str:
    """A count as a share; of a withheld count, that it is less than the cell's."""
    if estimate is None or not patients:
        return NOT_ESTIMABLE
    if isinstance(estimate, Fewer):
        return f"less than {share(float(estimate) / patients)}"
    return share(estimate / patients)


def share_above(part: Part, few: bool, key: str = "exposed_0.9") -> str:
    """The share above 0.9 of a group or band; of few models nothing is known of it.

    Parameters
    ----------
    part : Part
    few : bool
        See :func:`bounds_only`.
    key : str
        Of the share; its ends add ``_low`` and ``_high``.
    """
    if few:
        return NOT_ESTIMABLE
    ends = share_interval(part.number(f"{key}_low"), part.number(f"{key}_high"))
    return with_interval(share(part.number(key)), ends)


def above_09(part: Part) -> Part:
    """The row of exposed patients that headlines are about."""
    return part.part("exposed").part("0.9")


def estimate_or_bounds(row: Part) -> str:
    """A count with its interval; where there is no estimate, the interval alone."""
    bounds = count_interval(row.number("low"), row.number("high"))
    estimate = row.number("estimate")
    return bounds if estimate is None else with_interval(whole(estimate), bounds)


def whole_cohort_sentence(summary: Part) -> str:
    """What to expect of a model trained on everybody, without a full stop; empty where unknown."""
    found = summary.part("sizes").part("whole")
    of = found.part("trained_on").number("of")
    expected = estimate_or_bounds(above_09(found))
    if of is None or expected == NOT_ESTIMABLE or summary.part("sizes").text("doubt"):
        return ""
    steps = summary.part("sizes").text("held") == "steps"
    how = " in as many steps as the audited models" if steps else ""
    return f"Trained on all {counted(of, 'patient')}{how}, expect {expected} exposed"


def weights_read(summary: Part) -> bool:
    """Whether an attacker who has the weights was assessed, so that they are not "not tried"."""
    return any(
        cell.text("access") == "white-box" and cell.part("auc").number("mean") is not None
        for cell in summary.parts("exposure")
    )

"""Who and what was left out, and the models' utility: rounded with everything else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from auscult.disclosure.carried import figures_of_sizes, numbers_trained_on
from auscult.disclosure.counts import BASE, possible_numbers
from auscult.disclosure.margins import ends, rounded_count
from auscult.disclosure.nested import FEWER, is_small, outward

_SAID = re.compile(r"-?\d[\d.]*, 95% interval -?\d[\d.]* to -?\d[\d.]*")


def data_faults(made: dict[str, Any], smallest: int, base: int) -> None:
    """Numbers of records that were left out and of patients who could not be assessed.

    Parameters
    ----------
    made : dict
        A summary; its parts are changed in place.
    smallest : int
        The smallest cell.
    base : int
        What counts are rounded to in any case.
    """
    cohort, patients = made.get("cohort") or {}, made.get("patients") or {}
    for part in cohort.get("left_out") or []:
        for name in ("records", "patients"):
            _cell(part, name, smallest, base)
    parts = patients.get("not_estimable") or []
    lost = sum(part.get("patients") or 0 for part in parts)
    few = any(is_small(part.get("patients"), smallest) for part in parts)
    for part in parts:
        _cell(part, "patients", smallest, base)
    if few and patients.get("estimable") is not None:
        _everybody(made, lost, smallest, base)


def _cell(part: dict[str, Any], name: str, smallest: int, base: int) -> None:
    number = part.get(name)
    if number is None:
        return
    if is_small(number, smallest):
        part[name] = None
        part[FEWER] = {**part.get(FEWER, {}), name: smallest}
    else:
        part[name] = rounded_count(number, base)


def _everybody(made: dict[str, Any], lost: int, smallest: int, base: int) -> None:
    """Round the number of all patients: less those who were assessed, it is that of the others."""
    patients, cohort = made["patients"], made.get("cohort") or {}
    number, usable = patients["estimable"] + lost, patients["estimable"]
    wanted = possible_numbers(smallest)
    bases = [one for one in range(BASE, 8 * smallest, BASE) if one >= base]
    rounding = next((one for one in bases if ends(number, one)[1] - usable >= wanted), bases[-1])
    patients["count"], patients["count_rounded_to"] = rounded_count(number, rounding), rounding
    for trained in numbers_trained_on(made):
        share = trained["patients"] / max(trained["of"], 1)
        trained["of"] = patients["count"]
        trained["patients"] = rounded_count(round(share * patients["count"]), rounding)
    if cohort.get("patients") == number:
        cohort["patients"] = patients["count"]
    if cohort.get("records") == number:
        cohort["records"] = patients["count"]
    for band in (cohort.get("records_per_patient") or {}).get("bands") or []:
        band["patients"] = rounded_count(band["patients"], rounding)
    for one in cohort.get("classes") or []:
        if one.get("records") is not None:
            one["records"] = rounded_count(one["records"], rounding)


def utility_to_everybodys_step(made: dict[str, Any], step: float | None, reason: str) -> None:
    """Round utility, or withhold it, where an earlier cohort differs by a few patients.

    Parameters
    ----------
    made : dict
        A summary; "models" and the protections are changed in place.
    step : float or None
        To what figures about everybody are rounded; None where they are withheld. Of a metric
        beyond 1 it is a share of the figure's power of ten.
    reason : str
        Why they are withheld.
    """
    models = made.get("models") or {}
    parts = (*(made.get("protection") or []), *_points(made), *figures_of_sizes(made))
    for part in (models, *parts):
        for name in ("utility", "utility_change"):
            if isinstance(part.get(name), Mapping):
                part[name] = _rounded(part[name], step, reason)
    learned, found = models.get("learned") or {}, models.get("utility") or {}
    if isinstance(learned.get("reason"), str) and _SAID.search(learned["reason"]):
        said = "figures withheld"
        if step is not None:
            said = f"{found['mean']:g}, 95% interval {found['low']:g} to {found['high']:g}"
        models["learned"] = learned | {"reason": _SAID.sub(said, learned["reason"])}


def _points(made: dict[str, Any]) -> list[dict[str, Any]]:
    return (made.get("sweep") or {}).get("points") or []


def _rounded(figure: Mapping[str, Any], step: float | None, reason: str) -> dict[str, Any]:
    made = dict(figure)
    for name in ("mean", "estimate", "low", "high"):
        value = made.get(name)
        if not isinstance(value, float):
            continue
        if step is None:
            made[name], made["reason"] = None, reason
            continue
        size = step * max(1.0, 10.0 ** len(str(int(abs(value)))) if abs(value) > 1 else 1.0)
        if name in ("low", "high"):
            low, high = outward(value, value, size)
            made[name] = low if name == "low" else high
        else:
            made[name] = float(f"{round(value / size) * size:.9g}")
    if isinstance(made.get("members"), Mapping):
        made["members"] = _rounded(made["members"], step, reason)
    return made

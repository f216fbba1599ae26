"""Counts at nested thresholds: who lies between two of them is a cell as well.

Of 25 patients above 0.8 and 23 above 0.9, two lie between. Where two counts of a series, or a count
and the number of everybody, differ by less than the smallest cell, the whole series is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from auscult.base.intervals import clopper_pearson
from auscult.disclosure.counts import BASE, rounded_count

FEWER = "fewer_than"
"""Key of an object whose entries name figures that are under the smallest cell, and the cell."""

ROUNDED = "counts_rounded_to"
DIGITS = 4
"""Significant digits of figures that have no coarser step."""
_SIDES = (("true", "tpr"), ("false", "fpr"))


def is_small(count: float | None, smallest: int) -> bool:
    """Whether a count of patients is not zero and under the cell."""
    return count is not None and 0.5 <= count < smallest


def between(counts: Iterable[float], smallest: int) -> bool:
    """Whether two of the counts differ by a number of patients under the cell.

    Parameters
    ----------
    counts : iterable of float
        Patients above nested thresholds, and the number of everybody.
    smallest : int
    """
    ordered = sorted({round(count) for count in counts})
    return any(0 < above - below < smallest for below, above in pairwise(ordered))


def exposed_patients(patients: dict[str, Any], smallest: int, declared: int = 1) -> None:
    """Round the counts above thresholds where a cell between two of them would follow.

    Parameters
    ----------
    patients : dict
        The "patients" object of a summary; changed in place. Estimates stay as they are: they are
        sums of probabilities over all patients, and count nobody.
    smallest : int
    declared : int
        A base to which counts are rounded in any case.
    """
    n = patients.get("estimable") or patients.get("count") or 0
    rows = [row for row in (patients.get("exposed") or {}).values() if isinstance(row, dict)]
    curve = patients.get("survival") or {}
    base = max(min(BASE, smallest), declared)
    for name in ("confirmed", "raw", "study"):
        shares = [share for share in curve.get(name) or [] if share is not None]
        known = [row[name] for row in rows if row.get(name) is not None]
        cell = between([0, n, *known, *(share * n for share in shares)], smallest)
        if not cell and declared <= 1:
            continue
        patients[ROUNDED] = base
        for row in rows:
            if row.get(name) is not None:
                row[name] = rounded_count(round(row[name]), base)
        if shares:
            curve[name] = [
                None if share is None else _share(rounded_count(round(share * n), base), n)
                for share in curve[name]
            ]


def ends_that_count(row: Any, smallest: int) -> None:  # noqa: ANN401
    """Move ends of an interval outward that are numbers of patients who are known one by one.

    With few models the interval of a number of exposed patients reaches from those who are
    confirmed above to all but those who are confirmed below: its ends count them. One under the
    smallest cell becomes 0.

    Parameters
    ----------
    row : dict or other
        With "low" and "high"; changed in place.
    smallest : int
    """
    if not isinstance(row, dict) or smallest < 2:
        return
    low, high = row.get("low"), row.get("high")
    if isinstance(low, int | float) and low > 0 and float(low).is_integer():
        row["low"] = 0.0 if low < smallest else outward(low, None, min(BASE, smallest))[0]
    if isinstance(high, int | float) and high > 0 and float(high).is_integer():
        row["high"] = outward(None, high, smallest)[1]


def no_more_than_all(part: Mapping[str, Any], patients: int | None) -> None:
    """Let intervals of numbers of exposed patients end with everybody, though ends were moved.

    Parameters
    ----------
    part : mapping
        Its "exposed" and "exposed_before" are changed in place.
    patients : int or None
        Who was assessed.
    """
    for name in ("exposed", "exposed_before"):
        rows = part.get(name)
        for row in rows.values() if isinstance(rows, dict) and patients else ():
            if isinstance(row, dict) and isinstance(row.get("high"), int | float):
                row["high"] = min(row["high"], float(patients or 0))


def named_patients(release: dict[str, Any], smallest: int, declared: int = 1) -> None:
    """Counts and rates of whom a release names, at all its levels and rates together.

    A rate with its number of patients is a count, and so is its interval: where the count is small
    they go with it, and where it is rounded they are those of the rounded one.

    Parameters
    ----------
    release : dict
        The "release" object of a summary; changed in place.
    smallest : int
    declared : int
        A base to which counts are rounded in any case.
    """
    rows = [*(release.get("named") or []), *(release.get("at_fpr") or [])]
    everybody = release.get("estimable") or 0
    named = [row["patients"] for row in rows if row.get("patients") is not None]
    base, coarse = declared, max(min(BASE, smallest), declared)
    if between([0, everybody, *named], smallest):
        base = coarse
    for side, _ in _SIDES:
        known = [(row.get(side) or {}) for row in rows]
        counts = [one["estimate"] for one in known if one.get("estimate") is not None]
        totals = [one["of"] for one in known if one.get("of") is not None]
        if between([0, *totals, *counts], smallest):
            base = coarse
    for row in rows:
        counts = [row[key]["estimate"] for key, _ in _SIDES if row.get(key)]
        _row(row, counts, base, smallest)
    if base > 1:
        release[ROUNDED] = base


def _row(row: dict[str, Any], counts: Sequence[Any], base: int, smallest: int) -> None:
    if (number := row.get("patients")) is not None:
        expected = row.get("expected_members") or {}
        shown = rounded_count(number, base)
        if is_small(number, smallest):
            if expected.get("high") is not None and expected["high"] >= number:
                # No more members are expected than are named: the end is their number.
                expected["high"] = float(max(shown, min(number, smallest)))
        elif number and shown != number:
            # Where nearly all are surely members, their expected number is that of the named.
            for name in ("estimate", "low", "high"):
                if expected.get(name) is not None:
                    expected[name] = min(expected[name] * shown / number, float(shown))
        if is_small(row["patients"], smallest):
            row["patients"] = None
            row[FEWER] = {**row.get(FEWER, {}), "patients": smallest}
        else:
            row["patients"] = rounded_count(row["patients"], base)
    for (side, rate), count in zip(_SIDES, counts, strict=False):
        if count is None:
            continue
        of = int(row[side]["of"])
        if is_small(count, smallest):
            reason = f"fewer than {smallest} patients"
            row[side] |= {"estimate": None, "low": 0.0, "high": float(smallest)}
            row[side][FEWER] = {"estimate": smallest}
            row[rate] |= {"estimate": None, "low": None, "high": None, "reason": reason}
            continue
        hits = min(rounded_count(int(count), base), of)
        low, high = clopper_pearson(hits, of)
        row[side] |= {"estimate": hits, "low": low * of, "high": high * of}
        row[rate] |= {"estimate": hits / of, "low": low, "high": high}


def _share(count: int, n: int) -> float:
    return float(f"{min(count / n, 1.0):.{DIGITS}g}")


def those_left_out(entry: Mapping[str, Any], smallest: int) -> None:
    """Figures of patients whom a protection leaves out, where they are fewer than the cell.

    Parameters
    ----------
    entry : mapping
        Of the "protection" list; its "layers", and numbers that tell theirs, are changed in place.
    smallest : int
    """
    layers = entry.get("layers") or {}
    gone, stay = layers.get("removed"), layers.get("remaining")
    if not gone or not stay:
        return
    few = [is_small(part.get("patients"), smallest) for part in (gone, stay)]
    if not any(few):
        return
    # Everybody's number is known, so neither side's may be said; figures go with the small one.
    for part, small in zip((gone, stay), few, strict=True):
        part["patients"] = None
        if small:
            part[FEWER] = {"patients": smallest}
        for name in ("mean_auc_before", "mean_auc"):
            if not isinstance(part.get(name), dict):
                continue
            if small:
                part[name] = _without_figures(part[name], smallest)
            elif "n" in part[name]:
                part[name] = part[name] | {"n": None}
    for name in ("mean_auc_before", "mean_auc", "mean_auc_change"):  # of those who stay
        if isinstance(entry.get(name), dict) and "n" in entry[name]:
            entry[name]["n"] = None


def _without_figures(figure: Mapping[str, Any], smallest: int) -> dict[str, Any]:
    gone = {k: None for k, v in figure.items() if isinstance(v, int | float)}
    return {**figure, **gone, "reason": f"fewer than {smallest} patients"}


def outward(low: float | None, high: float | None, step: float) -> tuple[Any, Any]:
    """An interval whose ends are moved outward to multiples of a step.

    Parameters
    ----------
    low, high : float or None
    step : float
        Finite, above 0.
    """
    slack = 1e-9
    ends = []
    for end, move in ((low, math.floor), (high, math.ceil)):
        if end is None or not math.isfinite(end):
            ends.append(end)
            continue
        off = slack if move is math.floor else -slack
        ends.append(float(f"{move(end / step + off) * step:.9g}"))
    return ends[0], ends[1]

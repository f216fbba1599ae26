"""The figures that leave: small counts become "fewer than", and digits that say nothing go.

What a run found exactly is kept under ``secret/``. Everything else (summary, report, officer's
page, CSV, terminal, :class:`auscult.Result`) shows what this module makes of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from auscult.disclosure.carried import carried_on
from auscult.disclosure.counts import BASE, rounded_count
from auscult.disclosure.data_faults import data_faults, utility_to_everybodys_step
from auscult.disclosure.nested import (
    DIGITS,
    FEWER,
    ends_that_count,
    exposed_patients,
    is_small,
    named_patients,
    no_more_than_all,
    outward,
    those_left_out,
)

WITHHELD = "withheld: an earlier report is about a cohort that differs by too few patients"
OTHER_LABELS = "withheld: an earlier report is about other patients, or other labels of them"
# Parts that hold no figure of patients: settings, promises that follow from them, the plan.
_AS_THEY_ARE = frozenset(
    {
        "recipe",
        "deployment",
        "decision",
        "planted",
        "settings",
        "change",
        "dp",
        "facts",
        "planning",
        "trade_off",
        "auc_bound",
        "tpr_bound",
        "ppv_bound",
        "weights",
        "prior",
        "fpr",
        "rate",
        "threshold",
        "p",
        "q",
        "null",
        "notes",
    }
)
_COUNTED = frozenset({"exposed", "exposed_before", "before", "after"})
_ESTIMATED = ("patients", "true", "false", "expected_members")
_NUMBERS = (
    *("patients", "members", "non_members", "others", "unknown", "unmatched", "records"),
    *("estimate", "of"),
)
_COUNTS = ("confirmed", "raw", "study", "above_bound")  # in this order: the bytes depend on it


def released(summary: Mapping[str, Any], smallest: int, base: int = 1) -> dict[str, Any]:
    """What may be published of a summary, or of a part of one.

    Parameters
    ----------
    summary : mapping
    smallest : int
        The smallest cell.
    base : int
        What counts of patients are rounded to; 1 where only those are that give a small cell away.

    Returns
    -------
    dict
        A copy. A count of patients from 1 up to the cell is null, and its object has
        ``"fewer_than": {"confirmed": 10}``; the interval of an estimate under the cell is widened
        to hold 0 and the cell. Figures have four significant digits.
    """
    before = copy.deepcopy(dict(summary)) if "worst_group" in summary else dict(summary)
    for name in ("release", "protection", "sweep"):
        if before.get(name):
            before[name] = copy.deepcopy(before[name])
    if before.get("release"):
        named_patients(before["release"], smallest, base)
    for entry in _entries(before):
        those_left_out(entry, smallest)
    few = bool((before.get("patients") or {}).get("few_models"))
    made: dict[str, Any] = _walked(before, "", smallest, few)
    data_faults(made, smallest, base)
    patients = made.get("patients")
    if isinstance(patients, dict):
        if "rounded_to" in patients:
            _coarser(made, patients["rounded_to"], smallest)
            patients = made["patients"]
        _tails(patients, smallest)
        exposed_patients(patients, smallest, base)
        _bands_of_few(patients, made.get("cohort") or {})
    for entry in _entries(made):
        _worst_group(entry, made.get("disparities") or {})
        _worst_utility(entry, made.get("disparities") or {})
    if made.get("sizes"):
        carried_on(made["sizes"], smallest)
    points = (made.get("sizes") or {}).get("points") or []
    for part in (patients, *_entries(made), *points):
        no_more_than_all(part or {}, (made.get("patients") or {}).get("estimable"))
    _classes(made)
    rows = (patients or {}).get("by_records") or []
    if any("counts_rounded_to" in row for row in rows) and "cohort" in made:
        base = max(row.get("counts_rounded_to", 1) for row in rows)
        for band in (made["cohort"].get("records_per_patient") or {}).get("bands") or []:
            band["patients"] = rounded_count(band["patients"], base)
    return made


def _entries(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Protections, points of a sweep, and a part that is one of them itself."""
    sweep = (made.get("sweep") or {}).get("points") or []
    return [*(made.get("protection") or []), *sweep, *([made] if "worst_group" in made else [])]


def _worst_group(entry: dict[str, Any], disparities: Mapping[str, Any]) -> None:
    """The group most at risk, no finer than the table of groups has it."""
    group = entry.get("worst_group")
    if not group:
        return
    table = disparities.get(group["attribute"]) or {}
    row = (table.get("groups") or {}).get(group["group"]) or {}
    step = row.get("rounded_to")
    if step is None or row.get("patients") is None:
        entry["worst_group"] = None
        return
    group["patients"] = row["patients"]
    for name in ("mean_auc_before", "mean_auc", "change"):
        for key, value in group[name].items():
            if isinstance(value, float):
                group[name][key] = float(f"{round(value / step) * step:.9g}")


def _worst_utility(entry: dict[str, Any], disparities: Mapping[str, Any]) -> None:
    """The change in utility of the group that pays most, no finer than its table."""
    group = entry.get("worst_group_utility_change")
    if not group:
        return
    table = disparities.get(group["attribute"]) or {}
    step = ((table.get("groups") or {}).get(group["group"]) or {}).get("rounded_to")
    if step is None:
        entry["worst_group_utility_change"] = None
        return
    for key in ("estimate", "low", "high"):
        if isinstance(group.get(key), float):
            group[key] = float(f"{round(group[key] / step) * step:.9g}")


def _walked(content: Any, key: str, smallest: int, few: bool) -> Any:  # noqa: ANN401
    """Released figures of a part under a key; of `few` models, only bounds are known."""
    if isinstance(content, Mapping):
        # Of a protection the change has a reason where the models of either side are few.
        change = content.get("exposed_change")
        few = few or bool(content.get("few_models"))
        few = few or (isinstance(change, Mapping) and bool(change.get("reason")))
        made = {
            name: value if name in _AS_THEY_ARE else _walked(value, name, smallest, few)
            for name, value in content.items()
        }
        if key in _COUNTED:
            for name, value in made.items():
                if _is_threshold(name):
                    made[name] = _counted(value, smallest)
                    if few or _tells_confirmed(content[name], smallest):
                        ends_that_count(made[name], smallest)
        for name in [name for name in _ESTIMATED if name in made]:
            _counted(made[name], smallest)
        if "posterior" in made and _is_count(made.get("patients")):
            _hide(made, ["patients"], smallest)
        _change(made)
        _hide(made, [name for name in _COUNTS if _is_count(made.get(name))], smallest)
        return made
    if isinstance(content, list | tuple):
        return [_walked(value, key, smallest, few) for value in content]
    if isinstance(content, float) and math.isfinite(content):
        return float(f"{content:.{DIGITS}g}")
    return content


def _tells_confirmed(row: Any, smallest: int) -> bool:  # noqa: ANN401
    """Whether an interval may begin with those who are confirmed, whose number is not shown."""
    if not isinstance(row, Mapping):
        return False
    low, confirmed = row.get("low"), row.get("confirmed")
    if low is None or confirmed is None:
        return False
    return bool(low <= confirmed and is_small(confirmed, smallest))


def _counted(value: Any, smallest: int) -> Any:  # noqa: ANN401
    """An estimated number of patients above a threshold."""
    if not isinstance(value, dict):
        return None if _is_count(value) and is_small(value, smallest) else value
    if is_small(value.get("estimate"), smallest):
        _hide(value, ["estimate"], smallest)
        if value.get("low") is not None and value.get("high") is not None:
            value["low"], value["high"] = 0.0, float(max(value["high"], smallest))
    return value


def _change(entry: dict[str, Any]) -> None:
    """A protection's change, where it would tell what is withheld with or without it."""
    sides = [entry.get(name) for name in ("exposed", "exposed_before")]
    rows = [side.get("0.9") for side in sides if isinstance(side, dict)]
    if not any(isinstance(row, dict) and FEWER in row for row in rows):
        return
    if isinstance(entry.get("exposed_change"), dict):
        entry["exposed_change"].update(estimate=None, low=None, high=None)
    if isinstance(entry.get("removed"), dict):
        for name, share in entry["removed"].items():
            if isinstance(share, float):
                entry["removed"][name] = round(share, 1)


def _hide(content: dict[str, Any], names: list[str], smallest: int) -> None:
    few = {name: smallest for name in names if is_small(content[name], smallest)}
    if few:
        content.update(dict.fromkeys(few))
        content[FEWER] = {**content.get(FEWER, {}), **few}


_EVERYBODY = ("patients", "aggregate", "exposure", "protection", "sweep", "sizes", "release")
# Settings, places on an axis, figures of shuffled membership, and tables with steps of their own.
_KEPT = _AS_THEY_ARE | {
    "by_records",
    "planning",
    "rounded_to",
    "posterior",
    "top_share",
    "worst_group",
    "worst_group_utility_change",
    "utility",
    "utility_change",
    "utility_lost_at_most",
    "null_mean",
    "chance",
    "bins",
    "from",
}


_OF_SIZES = frozenset({"share", "widened"})  # of the patients, and of an interval


def _coarser(made: dict[str, Any], step: float | None, smallest: int) -> None:
    """Round what is about everybody where an earlier cohort differs by a few patients.

    Counts are rounded as coarsely as shares of everybody. Where no step is coarse enough for AUCs,
    those are withheld, and counts are rounded to twice the cell.
    """
    patients = made["patients"]
    n = max(patients.get("estimable") or patients.get("count") or 1, 1)
    base = 2 * smallest if step is None else BASE * math.ceil(max(n * step / BASE - 1e-9, 1))
    curve = patients.get("survival") or {}
    shares = {
        name: [
            None if v is None else float(f"{min(round(v * n / base) * base / n, 1.0):.{DIGITS}g}")
            for v in curve[name]
        ]
        for name in ("joint", "low", "high", "raw", "study")
        if name in curve
    }
    axes = {name: curve[name] for name in ("auc", "null") if name in curve}
    for part in _EVERYBODY:
        if made.get(part):
            kept = _KEPT | _OF_SIZES if part == "sizes" else _KEPT
            made[part] = _to_step(made[part], step, base, kept)
    _whole_numbers(made, base)
    _records_of_all(made, base)
    utility_to_everybodys_step(made, step, WITHHELD)
    if curve:
        made["patients"]["survival"] = axes | shares


def _whole_numbers(made: dict[str, Any], base: int) -> None:
    """Round the numbers of patients that a release and the protections have.

    One member more on a release's list, or one patient more whom it names, is who was added.
    """
    release = made.get("release") or {}
    parts = [release.get(name) for name in ("members", "auc", "blind", "outside")]
    parts.append((release.get("outside") or {}).get("blind"))
    for row in [*(release.get("named") or []), *(release.get("at_fpr") or [])]:
        parts += [row, row.get("true"), row.get("false")]
    for entry in _entries(made):
        parts += list((entry.get("layers") or {}).values())
    for part in parts:
        if not isinstance(part, dict):
            continue
        for name in _NUMBERS:
            if isinstance(part.get(name), int):
                part[name] = rounded_count(part[name], base)


def _records_of_all(made: dict[str, Any], base: int) -> None:
    """Round the number of all records: less that of an earlier report, it is a patient's.

    Where everybody has one record it says nothing.
    """
    cohort = made.get("cohort") or {}
    several = cohort.get("records") != cohort.get("patients")
    parts = [(cohort, "records")] if several else []
    parts += [(one, "out_records_per_target") for one in (made.get("aggregate") or {}).values()]
    for part, name in parts:
        if isinstance(part, dict) and isinstance(part.get(name), int):
            part[name] = rounded_count(part[name], base)


def _classes(made: dict[str, Any]) -> None:
    """Records of each class go where an earlier report has other patients, or other labels.

    A patient who left, or whose label changed, takes any number of records from a class.
    """
    told = made.get("disclosure") or {}
    classes = (made.get("cohort") or {}).get("classes") or []
    if told.get("earlier_reports") and not told.get("labels_as_before"):
        for one in classes:
            if one.get("records") is not None:
                one |= {"records": None, "reason": OTHER_LABELS}


def _to_step(
    content: Any,  # noqa: ANN401
    step: float | None,
    base: int,
    kept: frozenset[str] = _KEPT,
) -> Any:  # noqa: ANN401
    if isinstance(content, Mapping):
        found: dict[str, Any] = {
            name: value
            if name in kept
            else _end(name, value, base)
            if _is_end_of_a_count(name, value)
            else _to_step(value, step, base, kept)
            for name, value in content.items()
        }
        for name in ("raw", "study", "confirmed"):
            if isinstance(found.get(name), int):
                found[name] = rounded_count(found[name], base)
        lost = [name for name in found if found[name] is None and content[name] is not None]
        if lost and {"estimate", "mean", "auc"} & found.keys() and not content.get("reason"):
            found["reason"] = WITHHELD
        return found
    if isinstance(content, list | tuple):
        return [_to_step(value, step, base, kept) for value in content]
    if not isinstance(content, float) or not math.isfinite(content):
        return content
    if abs(content) > 1:
        return float(base * round(content / base))
    return None if step is None else float(f"{round(content / step) * step:.9g}")


def _is_end_of_a_count(name: str, value: object) -> bool:
    """Whether it is an end of an interval of a count: shares and AUCs are at most 1."""
    number = isinstance(value, float | int) and math.isfinite(value) and abs(value) > 1
    return name in ("low", "high") and number


def _end(name: str, value: float, base: int) -> float:
    """Rounded to the nearest multiple, 21 (11 to 30) would be 0 (0 to 0) where the base is 120."""
    low, high = outward(value, value, base)
    return float(low if name == "low" else high)


def _bands_of_few(patients: dict[str, Any], cohort: Mapping[str, Any]) -> None:
    """Weights of bands that only patients with more records than ten others have are in.

    Their names alone would tell the largest number of records.
    """
    most = (cohort.get("records_per_patient") or {}).get("max")
    if most is not None and isinstance(patients.get("weights"), Mapping):
        patients["weights"] = {
            band: one
            for band, one in patients["weights"].items()
            if int(band.partition("-")[0].rstrip("+")) <= most
        }


def _tails(patients: dict[str, Any], smallest: int) -> None:
    """Quantiles and curves whose tail holds fewer patients than the cell."""
    n = patients.get("estimable") or patients.get("count") or 0
    if not n:
        return
    for name in ("auc", "raw", "study"):
        if isinstance(patients.get(name), dict) and 0.01 * n < smallest:
            patients[name]["q99"] = None
    curve = patients.get("survival") or {}
    few = [
        place
        for place, share in enumerate(curve.get("joint") or [])
        if share is not None and is_small(share * n, smallest)
    ]
    # Of few models the bounds are the figure: as in the counts above thresholds, they stay.
    bounds = bool(patients.get("few_models"))
    for name in ("joint", "low", "high"):
        for place in few:
            if name not in curve or place >= len(curve[name]):
                continue
            end = curve[name][place]
            if name == "joint" or not bounds or end is None:
                curve[name][place] = None
            else:
                least = float(f"{smallest / n:.{DIGITS}g}")
                curve[name][place] = 0.0 if name == "low" else max(end, least)
    for name in ("raw", "study"):
        if name in curve:
            curve[name] = [
                None if share is not None and is_small(share * n, smallest) else share
                for share in curve[name]
            ]


def _is_threshold(name: object) -> bool:
    try:
        return 0 < float(str(name)) < 1
    except ValueError:
        return False


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

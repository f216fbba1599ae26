"""How the rows of groups are published: counts to a base, figures to a step.

Two roundings of one figure tell more of it than one. So what follows from a published figure is
computed from it, and an interval is given by how far its ends lie off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from auscult.disclosure import ends, outward, rounded_count, step_of_at_least, supported
from auscult.risk.group_intervals import share_interval

COARSE_FROM = 0.05
ENOUGH_OTHERS = 4
FEW_OTHERS = "withheld: the others are too few for how numbers of patients are rounded"
WITHHELD = "the mean of all patients is withheld, and would follow"
COUNTED = ("patients", "others", "patients_compared", "others_compared")
_SAME = 1e-9


def published_mean(mean: float, step: float) -> float | None:
    """The mean over everybody, as a reader has it."""
    if not np.isfinite(step):
        return None
    return mean if step == 0 else float(f"{round(mean / step) * step:.9g}")


def fewest(patients: int, base: int) -> int:
    """The least number of patients that is rounded as this one is; at least 1."""
    return max(ends(patients, base)[0], 1)


def utility_to_step(utility: dict[str, Any], step: float) -> dict[str, Any]:
    """A group's utility, no finer than its risk: groups can be subtracted by either."""
    low, high = outward(utility.get("low"), utility.get("high"), step)
    mean = utility.get("mean")
    mean = None if mean is None else float(f"{round(mean / step) * step:.9g}")
    return utility | {"mean": mean, "low": low, "high": high}


def rounded_row(
    row: dict[str, Any],
    step: float,
    base: int,
    *,
    patients: int,
    overall: float | None,
    overall_step: float = 0.0,
) -> dict[str, Any]:
    """A group's row as it is published: counts to a base, figures to a step, or withheld.

    Parameters
    ----------
    row : dict
        Of one group, exact.
    step : float
        To what its figures are rounded; infinite where they are withheld.
    base : int
        To what its numbers of patients are rounded.
    patients : int
        Of the whole comparison.
    overall : float or None
        Mean over everybody as it is published.
    overall_step : float
        To what that mean is rounded.

    Two roundings of one figure tell more of it than one. So what follows from a published figure is
    computed from it, and an interval is given by how far its ends lie off. The difference of a
    group of most patients moves by more than a step when its mean is rounded: its intervals are
    wider by what this may be, which is known to whoever reads the row.
    """
    counts = _counts(row, base, patients)
    if not np.isfinite(step):
        reason = (
            "withheld: together with the other tables, it would reveal too much about a few "
            "patients"
        )
        return dict.fromkeys(row) | counts | {"reason": reason}
    n = row["patients"]
    made = dict(row)
    made["mean_auc"], made["low"], made["high"] = around(
        supported(row["mean_auc"], n, step), row["mean_auc"], row["low"], row["high"], step
    )
    made |= share_of(row["exposed_0.9"], fewest(n, base), step)
    exact = row["difference_any_records"]
    if exact is not None:
        # The difference says nothing about the group's mean that its own rounded mean does not.
        told, why, slack = None, WITHHELD, 0.0
        if overall is not None:
            why = FEW_OTHERS
            others = counts["others"]
            if others is not None and (base <= 1 or others >= ENOUGH_OTHERS * base):
                told = patients * (made["mean_auc"] - overall) / others
                slack = (patients * (step + overall_step) + abs(told) * (base - 1)) / 2 / others
        any_records = "difference_any_records"
        if row["difference"] is not None and abs(row["difference"] - exact) < _SAME:
            made["difference"], made["difference_low"], made["difference_high"] = around(
                told, exact, row["difference_low"], row["difference_high"], step, slack
            )
        else:
            apart = _apart(row, step)
            made["difference"], made["difference_low"], made["difference_high"] = around(
                supported(row["difference"], n, apart),
                row["difference"],
                row["difference_low"],
                row["difference_high"],
                apart,
            )
        made["difference_same_records"] = made["difference"]
        made[any_records], made[f"{any_records}_low"], made[f"{any_records}_high"] = around(
            told, exact, row[f"{any_records}_low"], row[f"{any_records}_high"], step, slack
        )
        if told is None:
            made["reason"] = made.get("reason") or why
    return made | counts | {"rounded_to": float(f"{step:.9g}")}


def mirrored(rows: dict[str, dict[str, Any]]) -> None:
    """Give two groups that are everybody opposite differences, changing the rows in place.

    Each differs from the other alone. Rounded on its own, the larger group's difference lies
    further off, because its mean must be known much better; so the coarser row is copied.

    Parameters
    ----------
    rows : dict
        Both rows as they are published.
    """
    one, two = sorted(
        rows.values(), key=lambda row: (-(row.get("rounded_to") or 0), row["patients"])
    )
    any_records = "difference_any_records"
    same = _ends(one, any_records) == _ends(one, "difference")
    for key in (any_records, "difference"):
        source, other = one, two
        if None in (*_ends(one, key), *_ends(two, key)):
            continue
        if key == "difference" and not same and _width(two, key) > _width(one, key):
            source, other = two, one
        value, low, high = (-end + 0.0 for end in _ends(source, key))
        other[key], other[f"{key}_low"], other[f"{key}_high"] = value, high, low
    for row in (one, two):
        row["difference_same_records"] = row["difference"]


def _ends(row: dict[str, Any], key: str) -> tuple[Any, Any, Any]:
    return row[key], row[f"{key}_low"], row[f"{key}_high"]


def _width(row: dict[str, Any], key: str) -> float:
    return float(row[f"{key}_high"] - row[f"{key}_low"])


def _counts(row: dict[str, Any], base: int, patients: int) -> dict[str, int | None]:
    """Numbers of patients to a base; those of the others follow from those of the group.

    Rounding both sides of a known total would tell more than either: of 101, 13 and 88 are rounded
    to 15 and 90, which no other numbers are.
    """
    made = {key: None if row[key] is None else rounded_count(row[key], base) for key in COUNTED}
    made["others"] = max(patients - rounded_count(row["patients"], base), 0)
    for compared, of in (("patients_compared", "patients"), ("others_compared", "others")):
        if row[compared] is not None and row[compared] == row[of]:
            made[compared] = made[of]
    return made


def _apart(row: dict[str, Any], step: float) -> float:
    """Step of a difference at equal record counts that is not the one at any counts.

    Who has nobody to be compared with is in the group's mean and not in the difference. Set against
    each other they would tell that patient's figure; with these steps, to within its whole range.
    """
    if row["difference"] is None:
        return step
    n = min(row["patients"], row["others"])
    sides = (row["patients_compared"], row["patients"]), (row["others_compared"], row["others"])
    compared = min(of if number is None else number for number, of in sides)
    lacking = max(1 - n * step / 2, 0.0)
    return max(step, step_of_at_least(2 * lacking / max(compared, 1)))


def around(
    published: float | None,
    exact: float | None,
    low: float | None,
    high: float | None,
    step: float,
    slack: float = 0.0,
) -> tuple[Any, Any, Any]:
    """A figure and its interval: the ends as far off as they were, in whole steps.

    Parameters
    ----------
    published, exact : float or None
        The figure, rounded or not, and as it was found.
    low, high : float or None
        Its interval as it was found.
    step : float
    slack : float
        By how much the figure may be off; what is beyond a step is added to both sides.
    """
    if published is None or exact is None:
        return None, None, None
    published = float(f"{round(published / step) * step:.9g}")
    if low is None or high is None:
        return published, low, high
    more = max(float(np.ceil(slack / step - 1 - _SAME)), 0.0)
    below, above = (
        step * (float(np.ceil(abs(end - exact) / step - _SAME)) + more) for end in (low, high)
    )
    return published, float(f"{published - below:.9g}"), float(f"{published + above:.9g}")


def share_of(share: float, n: int, step: float) -> dict[str, float]:
    """A share above 0.9 as it is published, with the interval of what is published.

    Parameters
    ----------
    share : float
    n : int
        Of how many patients, as far as that is published: see :func:`fewest`.
    step : float
    """
    published = float(f"{min(max(round(share / step) * step, 0.0), 1.0):.9g}")
    low, high = outward(*share_interval(np.full(n, published)), step)
    return {
        "exposed_0.9": published,
        "exposed_0.9_low": max(low, 0.0),
        "exposed_0.9_high": min(high, 1.0),
    }


def coarse_p(p: float | None) -> float | None:
    """A p-value as it is published: never smaller than it was, coarse where it is large.

    With the interval, a p-value gives the estimate; one close to 1 gives it exactly.

    Parameters
    ----------
    p : float or None
    """
    if p is None or not np.isfinite(p):
        return p
    coarse = 1.0
    for end in (1.0, 0.5, 0.2, 0.1, 0.05):
        if p > end:
            break
        coarse = end
    if p > COARSE_FROM:
        return coarse
    if p <= 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(p)) - 1)
    return float(f"{np.ceil(p / unit - _SAME) * unit:.9g}")

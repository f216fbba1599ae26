"""Whom a release would name: rightly, falsely, and as expected, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from auscult.attacks.roc import exact_auc
from auscult.base.intervals import NORMAL_95, clopper_pearson
from auscult.release.declaration import Asked
from auscult.release.members import MEMBER, OUTSIDER
from auscult.release.totals import overdispersion, variance_of_members
from auscult.risk.exposed import count_interval

FEWEST_PAIRS_ABOVE = 10
NOBODY_OUTSIDE = "no patient of the cohort is known to be a non-member"
NO_OUTSIDERS = (
    f"{NOBODY_OUTSIDE}, so false accusations by this model "
    "cannot be counted; the shadow models' own rate is shown instead"
)
NO_MEMBERS = "it is not known which patients trained the model"


@dataclass(frozen=True, kw_only=True, eq=False)
class Sides:
    """Held-out figures of the shadow models and of the release, members and others apart.

    Attributes
    ----------
    shadow, member : array, shape (patients, models)
        Of the shadow models; NaN where there is no figure.
    shadow_in, shadow_out : float64 array
        The same of all members, and of all others.
    release : float64 array, shape (patients,)
    members, outsiders : bool array, shape (patients,)
        Who is known to be one.
    reason_members, reason_outsiders : str
        Why they are not counted; empty where they are.
    """

    shadow: NDArray[np.floating]
    member: NDArray[np.bool_]
    shadow_in: NDArray[np.float64]
    shadow_out: NDArray[np.float64]
    release: NDArray[np.float64]
    members: NDArray[np.bool_]
    outsiders: NDArray[np.bool_]
    reason_members: str
    reason_outsiders: str


def sides_of(
    asked: Asked,
    shadow: NDArray[np.floating],
    member: NDArray[np.bool_],
    release: NDArray[np.float64],
    smallest_cell: int,
) -> Sides:
    """Tell members from others, and why one of them is not counted.

    Parameters
    ----------
    asked : Asked
    shadow : float array, shape (patients, models)
    member : bool array, shape (patients, models)
    release : float64 array, shape (patients,)
    smallest_cell : int
    """
    state = asked.roll.reveal()
    usable = np.isfinite(release)
    members, outsiders = (usable & (state == side) for side in (MEMBER, OUTSIDER))
    known = np.isfinite(shadow)
    few = f"fewer than {smallest_cell} patients"
    reason_members = reason_outsiders = ""
    if members.sum() < smallest_cell:
        reason_members = f"{few} are known members" if members.any() else NO_MEMBERS
    if outsiders.sum() < smallest_cell:
        reason_outsiders = f"{few} are known non-members" if outsiders.any() else NO_OUTSIDERS
    # What is left of the patients beside the sides that are shown must not be a small cell.
    everybody, sizes = int(usable.sum()), (int(members.sum()), int(outsiders.sum()))
    if not reason_outsiders and not reason_members and 0 < everybody - sum(sizes) < smallest_cell:
        reason_outsiders = f"not shown: {few} are neither, and could be worked out"
    if not reason_members and 0 < everybody - sizes[0] < smallest_cell:
        reason_members = f"not shown: {few} are not members, and could be worked out"
    if not reason_outsiders and 0 < everybody - sizes[1] < smallest_cell:
        reason_outsiders = f"not shown: {few} are not non-members, and could be worked out"
    return Sides(
        shadow=shadow,
        member=member,
        shadow_in=np.asarray(shadow[known & member], dtype=np.float64),
        shadow_out=np.asarray(shadow[known & ~member], dtype=np.float64),
        release=release,
        members=members,
        outsiders=outsiders,
        reason_members=reason_members,
        reason_outsiders=reason_outsiders,
    )


def auc_of(sides: Sides) -> dict[str, Any]:
    """AUC of the release over patients; interval by DeLong's variance."""
    reason = sides.reason_members or sides.reason_outsiders
    if reason:
        return {"estimate": None, "low": None, "high": None, "reason": reason}
    inside, outside = sides.release[sides.members], sides.release[sides.outsiders]
    auc = exact_auc(inside, outside)
    low, high = _delong(inside, outside, auc)
    return {
        "estimate": auc,
        "low": low,
        "high": high,
        "members": int(inside.size),
        "non_members": int(outside.size),
    }


def _delong(
    inside: NDArray[np.float64], outside: NDArray[np.float64], auc: float
) -> tuple[float, float]:
    def placed(of: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
        ordered = np.sort(among)
        below = np.searchsorted(ordered, of, side="left")
        upto = np.searchsorted(ordered, of, side="right")
        return np.asarray((below + upto) / 2 / among.size)

    variance = placed(inside, outside).var(ddof=1) / inside.size
    variance += placed(outside, inside).var(ddof=1) / outside.size
    half = NORMAL_95 * float(np.sqrt(variance))
    return max(auc - half, 0.0), min(auc + half, 1.0)


def named_at(
    sides: Sides,
    posterior: float,
    prior: float,
    share: float | None,
    *,
    total: bool,
    plain: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Patients whose posterior reaches a level, and how many of them are members.

    Who is named depends on what an attacker knows, the prior. How many of them are to be expected
    to be members depends on the share that are, where it is known. The interval is as wide as
    shadow models show: a model that is surer than others is so about all patients at once.

    Parameters
    ----------
    sides : Sides
        Of calibrated log-odds at a prior of one half.
    posterior, prior : float
    share : float, optional
        Of the patients that trained the release.
    total : bool
        Whether the log-odds of each model go with its known number of members.
    plain : float64 array, shape (patients,), optional
        Log-odds of the release that were not stretched. By how much to stretch is not known well:
        what it changes is added to the interval as an error of that size.
    """
    bar = float(logit(posterior) - logit(prior))
    named = np.nan_to_num(sides.release, nan=-np.inf) >= bar
    before = logit(prior if share is None else share)
    p = expit(sides.release[named] + before)
    rest = expit(sides.release[~named & np.isfinite(sides.release)] + before)
    variance = variance_of_members(p, rest if total else None)
    factor = overdispersion(sides.shadow, sides.member, bar, total=total)
    # The factor rests on so many models, and so does the scale, beside which one more is laid.
    models = max(2, int(np.isfinite(sides.shadow).any(axis=0).sum()))
    times = float(stdtrit(models - 1, 0.975) * np.sqrt(1 + 1 / models))
    total_expected = float(p.sum())
    stretched = 0.0 if plain is None else total_expected - float(expit(plain[named] + before).sum())
    spread = float(np.hypot(times * factor * np.sqrt(variance), stretched)) / NORMAL_95
    low, high = count_interval(total_expected, spread**2, int(named.sum()))
    return {
        "posterior": posterior,
        "prior": prior,
        "patients": int(named.sum()),
        "expected_members": {"estimate": total_expected, "low": low, "high": high},
        **_rates(sides, named),
        "shadow_tpr": float((sides.shadow_in >= bar).mean()),
        "shadow_fpr": float((sides.shadow_out >= bar).mean()),
    }


def at_rate(sides: Sides, rate: float) -> dict[str, Any]:
    """Members named at the bar that names so many of the shadow models' non-members."""
    row: dict[str, Any] = {"rate": rate}
    if sides.shadow_out.size * rate < FEWEST_PAIRS_ABOVE:
        return row | {
            "patients": None,
            "reason": f"{sides.shadow_out.size:,} pairs of a non-member and a shadow model do not "
            f"resolve it",
        }
    # Of n scores the k-th largest is exceeded by k / (n + 1) of fresh ones.
    n = sides.shadow_out.size
    place = n - int(rate * (n + 1) + 1e-9)
    bar = float(np.partition(sides.shadow_out, place)[place])
    named = np.nan_to_num(sides.release, nan=-np.inf) > bar
    return row | {
        "patients": int(named.sum()),
        **_rates(sides, named),
        "shadow_tpr": float((sides.shadow_in > bar).mean()),
        "shadow_fpr": float((sides.shadow_out > bar).mean()),
    }


def _rates(sides: Sides, named: NDArray[np.bool_]) -> dict[str, Any]:
    """True members and non-members among the named, with their rates."""
    found: dict[str, Any] = {}
    for key, rate, side, reason in (
        ("true", "tpr", sides.members, sides.reason_members),
        ("false", "fpr", sides.outsiders, sides.reason_outsiders),
    ):
        if reason:
            nothing = {"estimate": None, "low": None, "high": None, "reason": reason}
            found |= {key: nothing, rate: nothing}
            continue
        n, hits = int(side.sum()), int((named & side).sum())
        low, high = clopper_pearson(hits, n)
        found[key] = {"estimate": hits, "low": low * n, "high": high * n, "of": n}
        found[rate] = {"estimate": hits / n, "low": low, "high": high, "n": n}
    return found

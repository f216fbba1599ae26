"""A group against everybody else with equally many records.

More records, more risk: groups that differ in their record counts differ in mean AUC though each
patient is as exposed as anybody with as many records. So the difference is a regression's: AUC on
the group, with an effect of the record count that is free.

- A count that enough patients of both sides have is a stratum of its own. Counts of 1, 2 and 3 are
  never anything else: nothing is close to them.
- Among the other counts, patients are compared with those of the other side whose count is within
  a quarter of their own, and what the count does is taken out by a line that bends every 1.5-fold.
- Who has nobody to be compared with is left out, and counted.

The coefficient is the mean of the differences at each count, weighted by how much the count says
of the difference (overlap weights, Li, Morgan & Zaslavsky 2018): a count that one side hardly has
weighs next to nothing. Its error is taken twice: patient by patient (HC2, with the degrees of
freedom of Bell & McCaffrey 2002), which holds where the groups' spreads differ, and by the spread
of all patients of a count, which holds in small skewed groups that happen to hold no outlier. The
wider one is used, for the interval and for p alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

ENOUGH = 10  # patients of one count who make a stratum
APART = 3  # counts up to here are never compared with others
CLOSE = 1.25
BEND = 1.5
NOBODY = "nobody else has as many records"
TOO_FEW = (
    "too few patients, of the group or of all others, have as many records as somebody on the "
    "other side"
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A difference in mean AUC at equal record counts.

    Attributes
    ----------
    difference, low, high, p : float or None
        With its 95% interval; None where too few can be compared.
    patients, others : int
        Of the group and of everybody else: who were compared.
    reason : str
        Why there is no difference.
    """

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    patients: int
    others: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Counts:
    """The effect of the record count, as a projection: one row per distinct count that is compared.

    Attributes
    ----------
    exact : bool array, shape (counts,)
    number : float64 array, shape (counts,)
        Patients.
    basis : float64 array, shape (counts, columns)
        Orthonormal over patients; 0 for exact counts, which are projected on their own mean.
    segment : int64 array, shape (counts,)
        Counts whose patients' spread is looked at together.
    """

    exact: NDArray[np.bool_]
    number: NDArray[np.float64]
    basis: NDArray[np.float64]
    segment: NDArray[np.int64]

    def fitted(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fitted value at each count, from the sum over its patients."""
        line = self.basis @ (self.basis.T @ total)
        return np.where(self.exact, total / self.number, line)

    def square(self, total: NDArray[np.float64]) -> float:
        """Squared length of the projection of what has these sums."""
        return float(self.fitted(total) @ total)

    def leverage(self) -> NDArray[np.float64]:
        return np.where(self.exact, 1 / self.number, (self.basis**2).sum(axis=1))

    def weighted(self, weight: NDArray[np.float64]) -> float:
        """Sum of squared entries of the projection, weighted by the sums of weights at counts."""
        between = (self.basis * weight[:, None]).T @ self.basis
        own = np.where(self.exact, weight / self.number, 0.0)
        return float((own**2).sum() + (between**2).sum())


def at_equal_counts(
    auc: NDArray[np.float64],
    inside: NDArray[np.bool_],
    count: NDArray[np.int64],
    *,
    fewest: int,
) -> Comparison:
    """Compare a group with everybody else of equal record count.

    Parameters
    ----------
    auc : float64 array, shape (patients,)
    inside : bool array, shape (patients,)
        Who is in the group.
    count : int64 array, shape (patients,)
        Records.
    fewest : int
        Patients who must be compared on either side.
    """
    distinct, place = np.unique(count, return_inverse=True)
    number = np.bincount(place)
    mine = np.bincount(place, inside, minlength=distinct.size).astype(np.int64)
    both = (mine > 0) & (mine < number)
    exact = both & ((number >= ENOUGH) | (distinct <= APART))
    near = ~exact & (distinct > APART)
    near[near] = _supported(distinct[near], mine[near] > 0, mine[near] < number[near])
    compared = exact | near
    kept = compared[place]
    patients, others = int(inside[kept].sum()), int((~inside[kept]).sum())

    def nothing(reason: str) -> Comparison:
        return Comparison(
            difference=None,
            low=None,
            high=None,
            p=None,
            patients=patients,
            others=others,
            reason=reason,
        )

    if patients == 0:
        return nothing(NOBODY)
    if min(patients, others) < max(fewest, 2):
        return nothing(TOO_FEW)
    row = np.cumsum(compared) - 1
    counts = _projection(distinct[compared], number[compared], exact[compared])
    return _regressed(auc[kept], inside[kept], row[place[kept]], counts, fewest) or nothing(TOO_FEW)


def _supported(
    distinct: NDArray[np.int64], mine: NDArray[np.bool_], others: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which counts have patients, and close to them patients of the other side."""

    def close_to(some: NDArray[np.int64]) -> NDArray[np.bool_]:
        first = np.searchsorted(some, distinct / CLOSE - 1e-9, side="left")
        last = np.searchsorted(some, distinct * CLOSE + 1e-9, side="right")
        return last > first

    return (mine & close_to(distinct[others])) | (others & close_to(distinct[mine]))


def _projection(
    distinct: NDArray[np.int64], number: NDArray[np.int64], exact: NDArray[np.bool_]
) -> _Counts:
    """Project on exact counts, and on a line in the logarithm of the others."""
    weight = number.astype(np.float64)
    segment = np.arange(distinct.size)
    basis = np.zeros((distinct.size, 0))
    if not exact.all():
        x = np.log(distinct[~exact])
        pieces = int(np.ceil((x[-1] - x[0]) / np.log(BEND) - 1e-9))
        knots = np.linspace(x[0], x[-1], pieces + 1)
        hats = np.stack([np.interp(x, knots, one) for one in np.eye(knots.size)], axis=1)
        if pieces == 0:
            hats = np.ones((x.size, 1))
        scale = np.sqrt(weight[~exact])[:, None]
        left, size, _ = np.linalg.svd(hats * scale, full_matrices=False)
        left = left[:, size > 1e-9 * size[0]]
        basis = np.zeros((distinct.size, left.shape[1]))
        basis[~exact] = left / scale
        segment[~exact] = distinct.size + np.searchsorted(knots[1:-1], x, side="right")
    return _Counts(exact=exact, number=weight, basis=basis, segment=segment)


def _regressed(
    auc: NDArray[np.float64],
    inside: NDArray[np.bool_],
    row: NDArray[np.int64],
    counts: _Counts,
    fewest: int,
) -> Comparison | None:
    """The group's coefficient; None where the count explains who is in the group."""
    n = counts.number.size

    def summed(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(row, x, minlength=n), dtype=np.float64)

    def rest(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(x - counts.fitted(summed(x))[row])

    group = rest(inside.astype(np.float64))
    information = float((group**2).sum())
    # As much as half of the fewest patients on either side would give.
    if information < max(fewest / 4, 0.5):
        return None
    difference = float(group @ auc / information)
    residual = rest(auc) - difference * group
    leverage = counts.leverage()[row] + group**2 / information
    free = np.maximum(1 - leverage, 0.0)
    known = free > 1e-8
    weight = np.where(known, group**2 / np.where(known, free, 1.0), 0.0)
    own = float((weight * residual**2).sum())
    projected = (
        counts.weighted(summed(weight))
        + 2 / information * counts.square(summed(weight * group))
        + float((weight * group**2).sum()) ** 2 / information**2
    )
    spread = float((weight**2 * (1 - 2 * leverage)).sum()) + projected
    freedom = float((weight * free).sum()) ** 2 / max(spread, 1e-300)
    errors = [(np.sqrt(own) / information, freedom), _pooled(group, residual, free, row, counts)]
    # A difference of values that do not vary at all is as sure as rounding.
    errors = [(max(float(error), 1e-9), max(free, 1.0)) for error, free in errors]
    half = max(error * float(stdtrit(free, 0.975)) for error, free in errors)
    p = max(2 * float(stdtr(free, -abs(difference) / error)) for error, free in errors)
    return Comparison(
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=p,
        patients=int(inside.sum()),
        others=int((~inside).sum()),
    )


def _pooled(
    group: NDArray[np.float64],
    residual: NDArray[np.float64],
    free: NDArray[np.float64],
    row: NDArray[np.int64],
    counts: _Counts,
) -> tuple[float, float]:
    """Error by the spread of all patients of a count, with Satterthwaite's degrees of freedom."""
    segment = counts.segment[row]
    freedom = np.bincount(segment, free)
    square = np.bincount(segment, residual**2)
    share = np.bincount(segment, group**2)
    overall = square.sum() / max(freedom.sum(), 1e-300)
    told = freedom > 0.5
    variance = np.where(told, square / np.where(told, freedom, 1.0), overall)
    part = share * variance
    total = float(part.sum())
    degrees = total**2 / max(float((part**2 / np.maximum(freedom, 0.5)).sum()), 1e-300)
    return float(np.sqrt(total)) / float(share.sum()), degrees


def without_count(
    auc: NDArray[np.float64], count: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What the record count does not explain of the AUC, and within which strata that is free.

    Whoever is in which group: a count that enough patients have is a stratum; others are joined
    with close ones after their line is taken out.

    Parameters
    ----------
    auc : float64 array, shape (patients,)
    count : int64 array, shape (patients,)

    Returns
    -------
    rest : float64 array, shape (patients,)
        With mean 0 in every stratum.
    stratum : int64 array, shape (patients,)
        Numbers from 0.
    """
    stratum, exact = strata(count)
    distinct, place = np.unique(count, return_inverse=True)
    alone = np.zeros(distinct.size, dtype=bool)
    alone[place] = exact
    counts = _projection(distinct, np.bincount(place), alone)
    total = np.asarray(np.bincount(place, auc), dtype=np.float64)
    rest = np.asarray(auc - counts.fitted(total)[place], dtype=np.float64)
    mean = np.bincount(stratum, rest) / np.bincount(stratum)
    return np.asarray(rest - mean[stratum]), stratum


def strata(count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Strata of record count: each count that enough patients have, and close ones of the others.

    Returns
    -------
    stratum : int64 array, shape (patients,)
        Numbers from 0.
    exact : bool array, shape (patients,)
        Whose stratum holds one count only.
    """
    distinct, place = np.unique(count, return_inverse=True)
    exact = (np.bincount(place) >= ENOUGH) | (distinct <= APART)
    joined = np.floor(np.log(distinct / (APART + 1)) / np.log(CLOSE) + 1e-9).astype(np.int64)
    key = np.where(exact, distinct, -1 - np.maximum(joined, 0))
    _, stratum = np.unique(key[place], return_inverse=True)
    return stratum, exact[place]

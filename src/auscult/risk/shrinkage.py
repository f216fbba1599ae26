"""Empirical Bayes: what all patients together say about each one (METHOD 5; Stephens 2017).

The noise of a count from a few dozen models is as wide as the differences between patients, so the
largest counts are mostly lucky ones. The prior of the true AUC is learned from all patients
(:mod:`auscult.risk.prior`). Level and spread of a patient's signals, its number of records and its
classes may say more of it: they are gathered into one number, the sign, by regression, and read as
a second measurement. The posterior gives the mean, the interval and the probability of lying above
a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from auscult.base.parallel import in_order
from auscult.risk.estimate import KNOTS, Estimate, kernel_ratio
from auscult.risk.prior import (
    ROWS_AT_ONCE,
    Cells,
    Prior,
    Shape,
    learned_priors,
    likelihood_of,
    weigh_shapes,
)

TERMS_AT_ONCE = 1 << 16
FEWEST_FOR_SIGN = 60
GROUPS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariates:
    """Predictors of a patient's AUC.

    Attributes
    ----------
    values : float64 array, shape (n, covariates)
    coupling : float64 array, shape (n, covariates)
        Sampling covariance of each predictor's error with the error of the counted AUC. A spread
        that was overestimated makes the AUC look small.
    """

    values: NDArray[np.float64]
    coupling: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Covariates:
        """Covariates of some of the rows."""
        return replace(self, values=self.values[rows], coupling=self.coupling[rows])


@dataclass(frozen=True, kw_only=True)
class Above:
    """How many patients lie above a threshold, given the prior: a sum of independent coins.

    Attributes
    ----------
    mean, variance : float
        Of the number of patients.
    """

    mean: float
    variance: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Shrunken AUC of each patient (or record); NaN where not estimable.

    Attributes
    ----------
    mean, low, high : float64 array, shape (n,)
        Posterior mean and central 95% interval of the AUC.
    tails : dict of float to float64 array, shape (n,)
        Probability that the AUC lies above each threshold.
    above : dict of float to Above
        Of these thresholds, and of those for which only the number was wanted.
    shapes : dict of Shape to float
        Weights of the shapes of the prior; empty where it was given.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    tails: dict[float, NDArray[np.float64]]
    above: dict[float, Above]
    shapes: dict[Shape, float]


def shrink(
    estimate: Estimate,
    covariates: Covariates,
    thresholds: tuple[float, ...] = (),
    *,
    shapes: dict[Shape, float],
    counted: tuple[float, ...] = (),
    level: float = 0.95,
) -> Posterior:
    """Posterior of every AUC from the estimates of all.

    Parameters
    ----------
    estimate : Estimate
        Shape (n,); rows with NaN are left out of the prior and get NaN.
    covariates : Covariates
        Shape (n, covariates).
    thresholds : tuple of float
        AUCs for which tail probabilities are wanted.
    shapes : dict of Shape to float
        How much each shape of the prior is believed; see :func:`worth_of_signs`.
    counted : tuple of float
        AUCs for which the number of patients above is wanted and nothing by patient.
    level : float
        Coverage of the interval.
    """
    usable = estimate.usable
    everybody = bool(usable.all())
    kept = estimate if everybody else estimate.take(usable)
    sign = sign_of(kept, covariates if everybody else covariates.take(usable))
    priors = learned_priors(kept, sign, shapes)
    part = posterior(kept, sign, priors, thresholds, counted=counted, level=level)
    if everybody:
        return replace(part, shapes=shapes)

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        full = np.full(usable.shape, np.nan)
        full[usable] = values
        return full

    return Posterior(
        mean=spread(part.mean),
        low=spread(part.low),
        high=spread(part.high),
        tails={t: spread(v) for t, v in part.tails.items()},
        above=part.above,
        shapes=shapes,
    )


def worth_of_signs(
    views: Sequence[tuple[Estimate, Covariates]],
) -> dict[Shape, float]:
    """How much the covariates deserve to be believed; see :func:`auscult.risk.prior.weigh_shapes`.

    Parameters
    ----------
    views : sequence of (Estimate, Covariates)
        Counts on one half of the models, covariates from the other half, and the reverse.
    """
    found = []
    # Where a patient has few models of a kind, one of the halves may have none.
    kept = np.all([estimate.usable for estimate, _ in views], axis=0)
    for estimate, covariates in views:
        found.append((estimate.take(kept), sign_of(estimate.take(kept), covariates.take(kept))))
    return weigh_shapes(found)


def sign_of(estimate: Estimate, covariates: Covariates) -> NDArray[np.float64]:
    """One number of each patient that predicts its AUC, by ranks as normal scores.

    Weighted ridge regression of the counts on the covariates and, with many rows, their squares and
    products; cross-fitted in five groups of rows so that no count predicts itself. From each
    covariate that part is taken away first whose error goes with the count's (see
    :func:`_decoupled`): what is left errs independently, and only so may the two be added up.

    Returns
    -------
    float64 array, shape (n,)
        All 0 with fewer than 60 rows, or where nothing varies.
    """
    n = estimate.size
    if n < FEWEST_FOR_SIGN:
        return np.zeros(n)
    between = max(float(np.var(estimate.auc) - estimate.noise.mean()), 0.0)
    weight = 1 / (estimate.noise + between + 1e-6)
    terms = _Terms(_decoupled(estimate, covariates), products=n >= 10 * FEWEST_FOR_SIGN)
    wide = terms.columns
    if wide == 1:
        return np.zeros(n)
    gram, moment = np.zeros((GROUPS, wide, wide)), np.zeros((GROUPS, wide))
    for rows in _pieces(n):
        x = terms.at(rows)
        weighted = x * weight[rows, None]
        pulled = weighted * estimate.auc[rows, None]
        group = np.arange(rows.start, rows.stop) % GROUPS
        for g in range(GROUPS):
            fit = group != g
            gram[g] += weighted[fit].T @ x[fit]
            moment[g] += pulled[fit].sum(axis=0)
    slope = np.empty((GROUPS, wide))
    for g in range(GROUPS):
        others = weight[np.arange(n) % GROUPS != g]
        gram[g][np.diag_indices(wide)] += np.r_[0.0, np.full(wide - 1, 3.0 * others.mean())]
        slope[g] = np.linalg.solve(gram[g], moment[g])
    found = np.empty(n)
    for rows in _pieces(n):
        own = slope[np.arange(rows.start, rows.stop) % GROUPS]
        found[rows] = np.einsum("nt,nt->n", terms.at(rows), own)
    if np.ptp(found) < 1e-9:
        return np.zeros(n)
    ranks = pd.Series(found).rank().to_numpy()  # scipy.stats takes long to load
    return np.asarray(ndtri((ranks - 0.5) / n))


def _decoupled(estimate: Estimate, covariates: Covariates) -> NDArray[np.float64]:
    """Covariates less what their errors share with the counts', shape (n, covariates).

    Near each AUC the shared part is the covariance of the errors over the variance of the count's,
    and its integral along the AUC is taken away.
    """
    values = covariates.values.copy()
    for place in np.flatnonzero(np.abs(covariates.coupling).max(axis=0) > 0):
        slope = kernel_ratio(estimate.auc, covariates.coupling[:, place], estimate.noise)
        steps = np.diff(KNOTS) * (slope[1:] + slope[:-1]) / 2
        taken = np.concatenate([[0.0], np.cumsum(steps)])
        inside = np.clip(estimate.auc, KNOTS[0], KNOTS[-1])
        values[:, place] -= np.interp(inside, KNOTS, taken)
        values[:, place] -= slope[0] * (estimate.auc - inside)
    return values


def posterior(
    estimate: Estimate,
    sign: NDArray[np.float64],
    priors: list[tuple[float, Prior]],
    thresholds: tuple[float, ...],
    *,
    counted: tuple[float, ...] = (),
    level: float = 0.95,
) -> Posterior:
    """Posterior mean, interval and tail probabilities under given priors; see :func:`shrink`.

    Parameters
    ----------
    estimate : Estimate
    sign : float64 array, shape (patients,)
    priors : list of (float, Prior)
        Each prior with its weight.
    thresholds : tuple of float
        AUCs whose tail probabilities are wanted for each patient.
    counted : tuple of float
        AUCs above which the patients are counted only.
    level : float
        Of the intervals.
    """
    n = estimate.size
    mean, low, high = np.empty(n), np.empty(n), np.empty(n)
    tails = {t: np.empty(n) for t in thresholds}

    every = sorted({*thresholds, *counted})
    sums = np.zeros((2, len(every)))

    def work(begin: int) -> NDArray[np.float64]:
        rows = slice(begin, min(begin + ROWS_AT_ONCE, n))
        likelihood, _ = likelihood_of(estimate.take(rows))
        part = Cells.of(likelihood, sign[rows], priors)
        mean[rows] = part.mean_auc()
        low[rows] = ndtr(part.quantile((1 - level) / 2))
        high[rows] = ndtr(part.quantile((1 + level) / 2))
        found = np.empty((2, len(every)))
        for place, t in enumerate(every):
            tail = part.above(float(ndtri(t)))
            found[:, place] = tail.sum(), (tail * (1 - tail)).sum()
            if t in tails:
                tails[t][rows] = tail
        return found

    for found in in_order(work, range(0, n, ROWS_AT_ONCE)):
        sums += found
    above = {
        t: Above(mean=float(m), variance=float(v)) for t, m, v in zip(every, *sums, strict=True)
    }
    return Posterior(mean=mean, low=low, high=high, tails=tails, above=above, shapes={})


class _Terms:
    """Intercept, standardised covariates within three deviations and their products, in pieces."""

    def __init__(self, values: NDArray[np.float64], *, products: bool) -> None:
        self._values = values
        self._varying = np.flatnonzero(values.std(axis=0) > 1e-9)
        self._mean = values.mean(axis=0)[self._varying]
        self._spread = values.std(axis=0)[self._varying]
        first, second = np.triu_indices(self._varying.size)
        self._first, self._second = (first, second) if products else (first[:0], second[:0])

    @property
    def columns(self) -> int:
        """Number of terms."""
        return 1 + self._varying.size + self._first.size

    def at(self, rows: slice) -> NDArray[np.float64]:
        """Terms of some rows, shape (rows, columns)."""
        values = self._values[rows][:, self._varying]
        x = np.clip((values - self._mean) / self._spread, -3, 3)
        return np.concatenate(
            [np.ones((x.shape[0], 1)), x, x[:, self._first] * x[:, self._second]], axis=1
        )


def _pieces(n: int) -> list[slice]:
    """Rows in pieces of a few megabytes of terms."""
    return [slice(a, min(a + TERMS_AT_ONCE, n)) for a in range(0, n, TERMS_AT_ONCE)]

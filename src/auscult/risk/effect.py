"""Standardised effects, their sampling variance and the AUC they mean (METHOD 5).

With scores normal within each class, ``d = (mu1 - mu0) / sqrt(s1^2 + s0^2)`` and ``AUC = Phi(d)``.
The estimate follows a scaled noncentral t: with `a` the variance that comes from the means and ``b
= 1 / (2 nu)`` the part that comes from the variances (nu degrees of freedom, Satterthwaite),

    P(estimate <= x | d) = Phi((x (1 - b / 2) - d) / sqrt(a + b x^2))

to a few thousandths (Johnson & Welch 1940; Abramowitz & Stegun 26.7.10). Intervals, tests and
likelihoods all come from this one formula; ``a + b d^2`` is the delta-method variance of METHOD 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from auscult.attacks.joint import auc_in_folds

LARGEST = 12.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Effect:
    """Effects with their sampling distribution.

    Attributes
    ----------
    d : float64 array, shape (n,)
        Estimate as it comes; NaN where not estimable.
    a, b : float64 array, shape (n,)
        Sampling variance is ``a + b d^2``.
    """

    d: NDArray[np.float64]
    a: NDArray[np.float64]
    b: NDArray[np.float64]

    @classmethod
    def empty(cls, n: int) -> Self:
        """Room for `n` effects, to be put in part by part."""
        return cls(d=np.empty(n), a=np.empty(n), b=np.empty(n))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Effect:
        """Effects of some of the rows."""
        return Effect(d=self.d[rows], a=self.a[rows], b=self.b[rows])

    def put(self, rows: slice, part: Effect) -> None:
        """Put effects in their place."""
        self.d[rows], self.a[rows], self.b[rows] = part.d, part.a, part.b

    @property
    def variance(self) -> NDArray[np.float64]:
        """Sampling variance at the estimate, shape (n,)."""
        return self.a + self.b * self.d**2

    @property
    def middle(self) -> NDArray[np.float64]:
        """Median-unbiased estimate, shape (n,): a variance in the denominator inflates `d`."""
        return self.d * (1 - self.b / 2)

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Confidence interval of the AUC, two arrays of shape (n,)."""
        half = float(ndtri(0.5 + level / 2)) * np.sqrt(self.variance)
        return ndtr(self.middle - half), ndtr(self.middle + half)

    def p_above(self, auc: float) -> NDArray[np.float64]:
        """One-sided p-value of "the AUC is at most `auc`", shape (n,); NaN where not estimable."""
        return np.asarray(ndtr(-(self.middle - float(ndtri(auc))) / np.sqrt(self.variance)))

    def log_likelihood(self, d: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-likelihood of true effects, up to a constant per row.

        Parameters
        ----------
        d : float64 array, shape (n, points)

        Returns
        -------
        float64 array, shape (n, points)
        """
        spread = np.sqrt(self.variance)[:, None]
        z = (self.middle[:, None] - d) / spread
        # Derivative of the distribution function above in x, as far as it depends on d.
        slope = (1 - self.b / 2)[:, None] + (self.b / self.a * self.d)[:, None] * d
        return np.asarray(-0.5 * z * z + np.log(np.maximum(slope, 1e-6)))


def joined(parts: Sequence[Effect]) -> Effect:
    """Effects of several parts as one."""
    return Effect(
        d=np.concatenate([part.d for part in parts]),
        a=np.concatenate([part.a for part in parts]),
        b=np.concatenate([part.b for part in parts]),
    )


def effect_of_samples(
    *,
    difference: NDArray[np.float64],
    variance_in: NDArray[np.float64],
    variance_out: NDArray[np.float64],
    models_in: NDArray[np.float64],
    models_out: NDArray[np.float64],
    lost: int = 1,
) -> Effect:
    """Effect from class means and variances.

    Parameters
    ----------
    difference : float64 array, shape (n,)
        Mean of the IN models' scores less mean of the OUT models' scores.
    variance_in, variance_out : float64 array, shape (n,)
        Within-class variances, already divided by models - `lost`.
    models_in, models_out : float64 array, shape (n,)
    lost : int
        Degrees of freedom that each class lost: 1, or the number of folds.

    Returns
    -------
    Effect
        At most 12 in size; 0 where the variances and the difference vanish together.
    """
    total = variance_in + variance_out
    with np.errstate(divide="ignore", invalid="ignore"):
        share_in, share_out = variance_in / total, variance_out / total
        share_in = np.where(total > 0, share_in, 0.5)
        share_out = np.where(total > 0, share_out, 0.5)
        d = np.where(
            total > 0,
            difference / np.sqrt(np.where(total > 0, total, 1.0)),
            np.where(difference == 0, 0.0, np.sign(difference) * LARGEST),
        )
        free_in = np.maximum(models_in - lost, 1.0)
        free_out = np.maximum(models_out - lost, 1.0)
        a = share_in / models_in + share_out / models_out
        inverse_freedom = share_in**2 / free_in + share_out**2 / free_out
    return Effect(d=np.clip(d, -LARGEST, LARGEST), a=a, b=inverse_freedom / 2)


def effect_in_folds(values: NDArray[np.float64], weight: NDArray[np.float64]) -> Effect:
    """Effect of cross-fitted scores: differences inside each fold, variances around fold means.

    Parameters
    ----------
    values, weight : float64 array, shape (patients, folds, 2, places)

    Returns
    -------
    Effect
        Shape (patients,).
    """
    number = weight.sum(axis=3)  # (patients, folds, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(number > 0, (values * weight).sum(axis=3) / number, 0.0)
        pairs = np.where(number.min(axis=2) > 0, number.prod(axis=2) / number.sum(axis=2), 0.0)
    difference = ((mean[:, :, 1] - mean[:, :, 0]) * pairs).sum(axis=1) / pairs.sum(axis=1)
    scatter = (((values - mean[..., None]) ** 2) * weight).sum(axis=(1, 3))  # (patients, 2)
    models = number.sum(axis=1)
    used = (number > 0).sum(axis=1)
    variance = scatter / np.maximum(models - used, 1)
    return effect_of_samples(
        difference=difference,
        variance_in=variance[:, 1],
        variance_out=variance[:, 0],
        models_in=models[:, 1],
        models_out=models[:, 0],
        lost=int(values.shape[1]),
    )


def effect_of_ranks(values: NDArray[np.float64], weight: NDArray[np.float64]) -> Effect:
    """Effect whose AUC is the Mann-Whitney AUC inside folds, for scores with many ties.

    The AUC is pulled to the middle by a quarter of a model, so that perfect separation stays
    finite; unlike a standardised difference it is not inflated, so that is taken back. The
    sampling variance is that of a standardised difference of two normal samples of this size: the
    Mann-Whitney AUC is nearly as precise (95% at an AUC of 0.5, Lehmann 1975), and for right and
    wrong labels it is a little more precise. DeLong's variance (1988) would be learned from the
    same few tied scores as the AUC, smaller the farther the AUC happens to lie from the middle:
    shrinking with it pulled high AUCs down by twice as much.

    Parameters
    ----------
    values, weight : float64 array, shape (patients, folds, 2, places)
    """
    auc = auc_in_folds(values, weight)
    number = np.maximum(weight.sum(axis=(1, 3)), 1)  # (patients, 2)
    fewest = number.min(axis=1)
    free = np.maximum(number - values.shape[1], 1)
    b = (0.25 / free).sum(axis=1) / 2
    return Effect(
        d=ndtri((auc * fewest + 0.25) / (fewest + 0.5)) / (1 - b / 2),
        a=(0.5 / number).sum(axis=1),
        b=b,
    )

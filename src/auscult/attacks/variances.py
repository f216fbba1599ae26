"""Variances of a record's signals, shrunk towards the one that other patients' records share.

A record's own variance rests on few reference models: on about 12 that are IN of 32. One variance
for all records is added to it, with as much weight as the records' own differences show that it
deserves (Smyth 2004, section 6.2). There is no number of models from which on it is left out: its
weight is a number of degrees of freedom, and the more models there are the less of the sum it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

NO_SPREAD = 1e-8  # of the mean variance; less is rounding, and no noise was seen at all
SURE = 1e6  # degrees of freedom of a value from which no record deviates


@dataclass(frozen=True, kw_only=True)
class VariancePrior:
    """What is known of a variance before the record is looked at.

    Attributes
    ----------
    value : float
        In squared units of the signals.
    freedom : float
        Degrees of freedom that it counts for; 0 leaves every variance as it is.
    """

    value: float
    freedom: float


def learned(variance: NDArray[np.float64], number: NDArray[np.float64]) -> VariancePrior:
    """Shared variance and its weight, from records that it will not be applied to.

    The weight follows from how much log variances scatter beyond what their own sampling explains.
    Records without any spread (constant or tied signals) take no part: the logarithm of zero says
    nothing about noise, and a few of them would undo the shrinkage of all.

    Parameters
    ----------
    variance : float64 array, shape (n,)
        Divided by `number` - 1.
    number : float64 array, shape (n,)
        Models behind each variance.

    Returns
    -------
    VariancePrior
        Of weight 0 where no record shows any spread.
    """
    seen = number > 1
    if not (seen.any() and variance[seen].mean() > 0):
        return VariancePrior(value=0.0, freedom=0.0)
    seen &= variance > NO_SPREAD * variance[seen].mean()
    free = number[seen] - 1
    # The mean of the logarithm of a chi-squared variate lies below the logarithm of its mean.
    logarithm = np.log(variance[seen]) - _below(free)
    left = float(logarithm.var() - polygamma(1, free / 2).mean())
    freedom = min(2 * inverse_trigamma(left), SURE) if left > 1 / SURE else SURE
    value = float(np.exp(logarithm.mean() + _below(np.array(freedom))))
    return VariancePrior(value=value, freedom=freedom)


def _below(freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean logarithm of a chi-squared variate over its degrees of freedom."""
    return np.asarray(digamma(freedom / 2) - np.log(freedom / 2))


def shrunk(
    variance: NDArray[np.float64],
    number: NDArray[np.float64],
    value: NDArray[np.float64],
    freedom: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weighted mean of own and shared variance, each with its degrees of freedom.

    Parameters
    ----------
    variance, number, value, freedom : float64 array
        As in :func:`learned` and :class:`VariancePrior`; of shapes that broadcast.

    Returns
    -------
    float64 array
        0 where there is neither spread nor a prior.
    """
    free = np.maximum(number - 1, 0)
    return np.asarray((freedom * value + free * variance) / np.maximum(freedom + free, 1e-12))


def inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method (Smyth 2004, appendix)."""
    x = 0.5 + 1.0 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x

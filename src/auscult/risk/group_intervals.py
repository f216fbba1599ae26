"""Intervals of group means, of their differences, and of shares of patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

REPLICATES = 2000
MOST_RESAMPLED = 1000
AT_ONCE = 1 << 15  # values that are drawn: they stay in the cache


def mean_interval(x: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """Studentised bootstrap interval of a mean."""
    mean, error = float(x.mean()), float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else np.nan
    if not error > 0:
        return mean, mean
    means, errors = _resampled(x, rng)
    t = np.quantile((means - mean) / errors, [0.975, 0.025])
    return float(mean - t[0] * error), float(mean - t[1] * error)


def difference_interval(
    x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, float]:
    """Studentised bootstrap interval of a difference of means.

    Parameters
    ----------
    x, y : float64 array
        Of the patients of either side.
    rng : Generator
    """
    difference = float(x.mean() - y.mean())
    error = float(np.sqrt(x.var(ddof=1) / x.size + y.var(ddof=1) / y.size))
    if not error > 0:
        return difference, difference
    (mx, ex), (my, ey) = _resampled(x, rng), _resampled(y, rng)
    t = np.quantile((mx - my - difference) / np.sqrt(ex**2 + ey**2), [0.975, 0.025])
    return float(difference - t[0] * error), float(difference - t[1] * error)


def _resampled(
    x: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard errors of bootstrap samples of patients.

    The mean of many patients is normal whatever their distribution: it is drawn as such.
    """
    if x.size > MOST_RESAMPLED:
        error = float(x.std(ddof=1) / np.sqrt(x.size))
        return rng.normal(x.mean(), error, REPLICATES), np.full(REPLICATES, error)
    mean, variance = np.empty(REPLICATES), np.empty(REPLICATES)
    step = max(1, AT_ONCE // x.size)
    for start in range(0, REPLICATES, step):
        here = slice(start, min(start + step, REPLICATES))
        sample = x.take(rng.integers(0, x.size, (here.stop - start, x.size)))
        sample.mean(axis=1, out=mean[here])
        sample -= mean[here, None]
        sample *= sample
        sample.mean(axis=1, out=variance[here])
    floor = 1e-4 * x.var()
    return mean, np.sqrt(np.maximum(variance, floor) / max(x.size - 1, 1))


def share_interval(tail: NDArray[np.float64]) -> tuple[float, float]:
    """Jeffreys interval of the share of patients above a threshold.

    Parameters
    ----------
    tail : float64 array, shape (patients,)
        Each patient's probability to lie above it; their sum is the number above. A bootstrap of
        few patients, most of them at 0, would be degenerate.
    """
    above, n = float(tail.sum()), tail.size
    low, high = (betaincinv(above + 0.5, n - above + 0.5, q) for q in (0.025, 0.975))
    share = above / n
    return min(float(low), share), max(float(high), share)

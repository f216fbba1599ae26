"""How a figure goes on with the number of patients, and how far off that may be.

A figure, on a scale without ends, is a straight line in the logarithm of the number of patients,
plus an error of its estimate at every size, plus a path that wanders off the line: its slope is a
Brownian motion (Wahba 1978; the mean is a cubic smoothing spline). Lines have no prior. How much a
slope wanders is not learned from three or four sizes, which cannot tell it from noise, but set,
wide enough for curves that rise and fall; what the law misses where it can be checked widens it
further. The check leaves the largest size out, and predicts it from the smaller ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.base.intervals import NORMAL_95

# Deviation of a slope's change over one e-fold of patients, on the scale of normal quantiles. On
# diabetes130 slopes of the share above 0.9 differ by 0.5 between neighbouring sizes, noise
# included; with 1.0 for 1.5, curves that turn sharply were missed in a third of simulated cohorts.
WANDERS = 1.5
FEWEST_TO_CHECK = 3  # sizes: a line through two of them has nothing left to be checked by


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A figure at another number of patients, on the law's scale.

    Attributes
    ----------
    mean, deviation : float
    """

    mean: float
    deviation: float

    @property
    def interval(self) -> tuple[float, float]:
        """95%, normal."""
        reach = NORMAL_95 * self.deviation
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True, kw_only=True)
class Extrapolated:
    """A figure beyond the sizes that there are.

    Attributes
    ----------
    whole : Predicted
        Its deviation is widened.
    left_out : Predicted or None
        The largest size, from the smaller ones; None with two sizes.
    widened : float
        By what the deviation was multiplied: 1 or more.
    """

    whole: Predicted
    left_out: Predicted | None
    widened: float


def extrapolated(
    numbers: NDArray[np.float64],
    values: NDArray[np.float64],
    covariance: NDArray[np.float64],
    at: float,
    *,
    wanders: float = WANDERS,
) -> Extrapolated:
    """Carry a figure on to a larger number of patients.

    Every size from the third on is predicted from the smaller ones. Where the largest, or all of
    them on average, are missed by more than the law's own deviation, that is widened by as much.

    Parameters
    ----------
    numbers : float64 array, shape (sizes,)
        Patients trained on, ascending, two at least.
    values : float64 array, shape (sizes,)
        Of the figure, on a scale without ends.
    covariance : float64 array, shape (sizes, sizes)
        Of the errors of `values`.
    at : float
        Number of patients.
    wanders : float
        See :data:`WANDERS`.
    """
    misses: list[float] = []
    left_out = None
    for size in range(FEWEST_TO_CHECK - 1, len(numbers)):
        left_out = _predicted(
            numbers[:size],
            values[:size],
            covariance[:size, :size],
            float(numbers[size]),
            wanders=wanders,
            own=(covariance[:size, size], float(covariance[size, size])),
        )
        misses.append(abs(float(values[size]) - left_out.mean) / max(left_out.deviation, 1e-12))
    widened = 1.0
    if misses:
        widened = max(1.0, misses[-1], float(np.sqrt(np.mean(np.square(misses)))))
    found = _predicted(numbers, values, covariance, at, wanders=wanders)
    whole = Predicted(mean=found.mean, deviation=widened * found.deviation)
    return Extrapolated(whole=whole, left_out=left_out, widened=widened)


def _predicted(
    numbers: NDArray[np.float64],
    values: NDArray[np.float64],
    covariance: NDArray[np.float64],
    at: float,
    *,
    wanders: float,
    own: tuple[NDArray[np.float64], float] | None = None,
) -> Predicted:
    """The law's value at another number of patients; with `own`, its estimate there.

    Parameters
    ----------
    numbers, values, covariance
        As for :func:`extrapolated`.
    at : float
    wanders : float
    own : tuple of float64 array, shape (sizes,), and float, optional
        Covariances of an estimate at `at` with the others', and its variance.
    """
    place = np.log(np.append(numbers, at))
    path = wanders**2 * _wandering(place - place.min())
    size = len(numbers)
    error = covariance + path[:size, :size]
    line = np.column_stack([np.ones(size), place[:size]])
    target = np.array([1.0, place[size]])
    with_path = np.linalg.solve(error, path[:size, size])
    with_line = np.linalg.solve(error, line)
    # Best linear unbiased prediction: these weights of the values.
    lacking = target - line.T @ with_path
    weights = with_path + with_line @ np.linalg.solve(line.T @ with_line, lacking)
    shared, alone = path[:size, size], float(path[size, size])
    if own is not None:
        shared, alone = shared + own[0], alone + own[1]
    variance = float(weights @ error @ weights - 2 * weights @ shared + alone)
    return Predicted(mean=float(weights @ values), deviation=float(np.sqrt(max(variance, 0.0))))


def _wandering(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance of a path whose slope is a Brownian motion from the first place on."""
    first, last = np.minimum.outer(place, place), np.maximum.outer(place, place)
    return np.asarray(first**2 * (3 * last - first) / 6)

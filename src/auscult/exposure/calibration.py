"""From a score to a posterior: how much likelier is it, for a member, to be scored like this?

A logistic regression on what the attack says of a patient under a model (its score, and how far the
patient's own models lie apart) gives the log likelihood ratio, a monotone step function on top of
it takes what the regression misses. Both are learned on some models and used on others. The prior
enters afterwards: log posterior odds = log likelihood ratio + log prior odds (METHOD 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

RIDGE = 3.0
STEPS = 25
LARGEST = 8.0
# Points per step of the monotone function: a step says no more than its points can.
FEWEST_POINTS = 40
MOST_STEPS = 400
BINS = 10


def terms_of(score: NDArray[np.float64], effect: NDArray[np.float64]) -> NDArray[np.float64]:
    """Terms of the regression, shape (n, terms).

    With normal scores of equal variance the log likelihood ratio is score times effect, measured
    from the middle of both classes; the other terms let the data shrink an uncertain effect and
    bend what is not normal.

    Parameters
    ----------
    score, effect : float64 array, shape (n,)
        In deviations; clipped at 8.
    """
    z, d = np.clip(score, -LARGEST, LARGEST), np.clip(effect, -LARGEST, LARGEST)
    return np.column_stack([z * d, z * d * np.abs(d), z * d**3, z, z * z, z * z * d, d, d * d])


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Log likelihood ratios from terms.

    Attributes
    ----------
    middle, scale, weights : float64 array, shape (terms,)
    offset : float
    at, ratio : float64 array, shape (steps,)
        The monotone function: log likelihood ratio at each value of the regression.
    """

    middle: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    offset: float
    at: NDArray[np.float64]
    ratio: NDArray[np.float64]

    def linear(self, terms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Value of the regression, which orders as the ratio does but has no ties of its own."""
        scaled = np.clip((terms - self.middle) / self.scale, -10, 10)
        return np.asarray(self.offset + scaled @ self.weights)

    def log_ratio(self, linear: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log likelihood ratio of values of the regression."""
        return np.interp(linear, self.at, self.ratio)


def calibrate(terms: NDArray[np.float64], member: NDArray[np.bool_]) -> Calibration:
    """Learn a calibration.

    Parameters
    ----------
    terms : float64 array, shape (n, terms)
    member : bool array, shape (n,)
        Both values must occur.
    """
    middle = terms.mean(axis=0)
    spread = terms.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    x = np.clip((terms - middle) / scale, -10, 10)
    # Members and others weigh the same: the offset is that of a prior of one half.
    share = member.mean()
    weight = np.where(member, 0.5 / share, 0.5 / (1 - share))
    weights, offset = _logistic(x, member, weight)
    linear = offset + x @ weights
    at, ratio = _monotone(linear, member)
    return Calibration(
        middle=middle, scale=scale, weights=weights, offset=offset, at=at, ratio=ratio
    )


def calibration_error(
    posterior: NDArray[np.float64], member: NDArray[np.bool_]
) -> tuple[float, float]:
    """Expected calibration error over ten equal bins of the posterior, and the Brier score.

    Parameters
    ----------
    posterior : float64 array, shape (n,)
        At the prior that `member` has.
    member : bool array, shape (n,)
    """
    place = np.minimum((posterior * BINS).astype(np.int64), BINS - 1)
    said = np.bincount(place, weights=posterior, minlength=BINS)
    happened = np.bincount(place, weights=member, minlength=BINS)
    return float(np.abs(said - happened).sum() / len(member)), float(
        ((posterior - member) ** 2).mean()
    )


def _logistic(
    x: NDArray[np.float64], member: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Ridge logistic regression by Newton's method; the offset is not pulled."""
    design = np.column_stack([np.ones(len(x)), x])
    pull = np.diag([1e-9, *([RIDGE] * x.shape[1])])
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        p = expit(design @ beta)
        slope = design.T @ (weight * (member - p)) - pull @ beta
        curve = (design * (weight * p * (1 - p))[:, None]).T @ design + pull
        step = np.linalg.solve(curve, slope)
        # A long step would overshoot where classes lie far apart.
        beta = beta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    return beta[1:], float(beta[0])


def _monotone(
    linear: NDArray[np.float64], member: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Monotone log likelihood ratio by pooling adjacent violators over runs of points."""
    order = np.argsort(linear, kind="stable")
    x, y = linear[order], member[order].astype(np.float64)
    step = max(FEWEST_POINTS, -(-len(x) // MOST_STEPS))
    # Runs end where the value changes, so that equal values share a step.
    ends = np.unique(np.searchsorted(x, x[np.append(np.arange(step, len(x), step), -1)], "right"))
    starts = np.concatenate([[0], ends[:-1]])
    inside, total = np.add.reduceat(y, starts), np.diff(np.append(starts, len(x)))
    value = np.add.reduceat(x, starts) / total
    blocks: list[list[float]] = []
    for n_in, n, v in zip(inside.tolist(), total.tolist(), (value * total).tolist(), strict=True):
        blocks.append([n_in, n, v])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    table = np.array(blocks)
    # Half a point on each side: a step without one class does not claim certainty.
    odds = np.log(table[:, 0] + 0.5) - np.log(table[:, 1] - table[:, 0] + 0.5)
    share = member.mean()
    return table[:, 2] / table[:, 1], np.maximum.accumulate(odds - np.log(share / (1 - share)))

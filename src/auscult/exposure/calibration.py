"""From a score to a posterior: how much likelier is it, for a member, to be scored like this?

A logistic regression on what the attack says of a patient under a model (its score, and how far the
patient's own models lie apart) gives the log likelihood ratio. It is learned on some models and
used on others. The prior enters afterwards: log posterior odds = log likelihood ratio + log prior
odds (METHOD 7). What learning it costs in precision is seen by leaving out groups of patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

RIDGE = 3.0
STEPS = 25
LARGEST = 8.0
GROUPS = 20
# A ratio is claimed only as far as so many points of the rarer class could show it.
FEWEST_POINTS = 40
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
    middle, scale : float64 array, shape (terms,)
    weights : float64 array, shape (1 + groups, 1 + terms)
        The offset first. Row 0 is learned from everybody, row 1 + g without group g.
    most : float
        Largest ratio that is claimed, on either side; see :meth:`claimed`.
    """

    middle: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    most: float

    def log_ratio(self, terms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log likelihood ratios of all rows, shape (1 + groups, n): without the limit."""
        scaled = np.clip((terms - self.middle) / self.scale, -10, 10)
        return np.asarray(self.weights[:, :1] + self.weights[:, 1:] @ scaled.T)

    def claimed(self, ratio: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ratios within what the points could show."""
        return np.clip(ratio, -self.most, self.most)


def calibrate(
    terms: NDArray[np.float64],
    member: NDArray[np.bool_],
    group: NDArray[np.int64] | None = None,
) -> Calibration:
    """Learn a calibration.

    Parameters
    ----------
    terms : float64 array, shape (n, terms)
    member : bool array, shape (n,)
        Both values must occur.
    group : int64 array, shape (n,), optional
        Group of each point's patient, below 20: each is left out once, by one step of Newton's
        method from the solution for everybody.
    """
    middle = terms.mean(axis=0)
    spread = terms.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    x = np.clip((terms - middle) / scale, -10, 10)
    # Members and others weigh the same: the offset is that of a prior of one half.
    share = member.mean()
    weight = np.where(member, 0.5 / share, 0.5 / (1 - share))
    fewest = min(int(member.sum()), int((~member).sum()))
    return Calibration(
        middle=middle,
        scale=scale,
        weights=_logistic(x, member, weight, group),
        most=float(np.log(max(fewest / FEWEST_POINTS, 2.0))),
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
    x: NDArray[np.float64],
    member: NDArray[np.bool_],
    weight: NDArray[np.float64],
    group: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
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
    rows = [beta]
    if group is not None:
        p = expit(design @ beta)
        away, bend = weight * (member - p), weight * p * (1 - p)
        for g in range(GROUPS):
            mine = np.flatnonzero(group == g)
            own = design[mine]
            without = curve - (own * bend[mine, None]).T @ own
            rows.append(beta - np.linalg.solve(without, own.T @ away[mine]))
    return np.stack(rows)

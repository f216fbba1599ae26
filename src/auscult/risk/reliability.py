"""Scores to log-odds that mean what they say, by counting; and how far claims are off.

What a deployment claims of its attackers and what the model that goes out claims of its patients
are both learned here: a monotone function of counts (Zadrozny & Elkan 2002), which never claims
more than was counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 10


def monotone_log_odds(
    inside: NDArray[np.float64], total: NDArray[np.float64], place: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pool adjacent runs of points whose share of members falls.

    Parameters
    ----------
    inside, total : float64 array, shape (runs,)
        Members, and all points, of each run in ascending order of the score; empty runs are
        passed over.
    place : float64 array, shape (runs,)
        Sum of the scores of each run.

    Returns
    -------
    score, log_odds : float64 array, shape (blocks,)
        Mean score of each block that is left and its log-odds of membership, never falling.
    """
    blocks: list[list[float]] = []
    for one in zip(inside.tolist(), total.tolist(), place.tolist(), strict=True):
        if one[1] <= 0:
            continue
        blocks.append(list(one))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    table = np.array(blocks)
    # Half a point on each side: a run without one class does not claim certainty.
    odds = np.log(table[:, 0] + 0.5) - np.log(table[:, 1] - table[:, 0] + 0.5)
    return table[:, 2] / table[:, 1], np.maximum.accumulate(odds)


def bin_of(posterior: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of ten bins of equal width a probability falls into."""
    return np.clip((posterior * BINS).astype(np.int64), 0, BINS - 1)


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
    place = bin_of(posterior)
    said = np.bincount(place, weights=posterior, minlength=BINS)
    happened = np.bincount(place, weights=member, minlength=BINS)
    return float(np.abs(said - happened).sum() / len(member)), float(
        ((posterior - member) ** 2).mean()
    )

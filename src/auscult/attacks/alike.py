"""What one model alone gives away: where a record lies among non-members whose inputs are alike.

The quantile-regression attack (Bertran et al. 2023) in its Gaussian form: mean and variance of the
model's signal given the inputs, learned from records that the model did not train on; per class,
linear in random Fourier features (Rahimi & Recht 2007). It needs the inputs and no other model.

Both fits leave out the group of patients that is judged. Were residuals of fits that saw a patient
used, their spread would tell who of the patients is a member.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Layout
from auscult.attacks.places import Places
from auscult.base.parallel import in_order

GROUPS = 5  # of patients
FEATURES, RIDGE = 128, 1.0
MOST_KNOWN = 4000  # records of a class from which a fit is learned
FEWEST_KNOWN = 20
DRAWN = 20261127  # seed of the features; part of the method
LEAST = 1e-3  # of the mean squared residual: the logarithm of less would say nothing
TINY = 1e-30  # where all signals are the same; its root is far from what 32 bits overflow at


def place_among_alike(layout: Layout, places: Places) -> NDArray[np.float32]:
    """Distance of every signal from what the model gives to non-members alike, in deviations.

    Parameters
    ----------
    layout : Layout
        Signals as they come. Of the membership, only that of *other* patients is looked at.
    places : Places
        Of the cohort; rows find theirs by `layout.order`.

    Returns
    -------
    float32 array, shape (records, models)
        In the layout's order of rows. Where fewer than 20 such records are known of a class, the
        deviation from the mean over all signals of the class.
    """
    features = _features(places.points[layout.order])
    group = layout.number[layout.patient] % GROUPS
    found = np.zeros((layout.records, layout.models), dtype=np.float32)
    classes = [np.flatnonzero(layout.stratum == one) for one in np.unique(layout.stratum)]

    def judge(model: int) -> None:
        outside = ~layout.member[layout.patient, model]
        for rows in classes:
            y = layout.signals[rows, model].astype(np.float64)
            spread = float(y.var())
            mine = group[rows]
            for g in range(GROUPS):
                known = np.flatnonzero(outside[rows] & (mine != g))
                judged = np.flatnonzero(mine == g)
                if judged.size:
                    known = known[:: max(1, -(-known.size // MOST_KNOWN))]
                    found[rows[judged], model] = _standardised(
                        features[rows[known]], y[known], features[rows[judged]], y[judged], spread
                    )

    for _ in in_order(judge, range(layout.models)):
        pass
    return found


def _standardised(
    near: NDArray[np.float64],
    known: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    spread: float,
) -> NDArray[np.float64]:
    """Signals of the judged by mean and variance of those known, shape (judged,).

    Labels may be right on all who are known: their variance is 0, and whoever differs would lie
    infinitely far away. No residual counts as smaller than a part of the `spread` of all signals
    of the class.
    """
    if len(known) < FEWEST_KNOWN:
        middle = known.mean() if len(known) else y.mean()
        return np.asarray(y - middle)
    left = near.T @ near + RIDGE * np.eye(near.shape[1])
    middle, weights = _ridge(left, near, known)
    rest = known - middle - near @ weights
    floor = LEAST * max(float(np.mean(rest**2)), LEAST * spread) + TINY
    level, width = _ridge(left, near, np.log(rest**2 + floor))
    return np.asarray((y - middle - x @ weights) / np.exp(0.5 * (level + x @ width)))


def _features(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Random Fourier features of a Gaussian kernel as wide as the median distance, and a 1."""
    rng = np.random.default_rng(DRAWN)
    some = points[rng.choice(len(points), min(len(points), 1000), replace=False)]
    half = len(some) // 2
    between = ((some[:half, None] - some[None, half:]) ** 2).sum(axis=2)
    width = 2 * float(np.median(between)) if between.size else 0.0
    turned = rng.normal(0, np.sqrt(2 / max(width, 1e-12)), (points.shape[1], FEATURES))
    waves = np.cos(points @ turned + rng.uniform(0, 2 * np.pi, FEATURES)) * np.sqrt(2 / FEATURES)
    return np.asarray(np.column_stack([waves, np.ones(len(points))]), dtype=np.float64)


def _ridge(
    left: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Mean, and weights of the features for what differs from it."""
    middle = float(y.mean())
    return middle, np.asarray(np.linalg.solve(left, x.T @ (y - middle)), dtype=np.float64)

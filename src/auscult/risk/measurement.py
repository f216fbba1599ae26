"""What a patient's sign says of its AUC, read as a second measurement of it.

See :mod:`auscult.risk.prior`, which learns it together with the distribution of AUCs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

# Pseudo-patients against each power of its mean, and of its variance.
RIDGE = np.array([0.0, 1.0, 4.0, 9.0])
BANDWIDTH, VARIANCE_PSEUDO = 0.75, 10.0
SMALLEST_DEVIATION = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """The sign as a measurement: normal, with a mean and a variance that the AUC decides.

    Where some patients leak much and others little, a sign moves the odds between the two; that is
    no shift of everybody by what was predicted, and a shift would make the counts too large.

    Attributes
    ----------
    mean, deviation : float64 array, shape (points,)
        Of the sign where the true AUC is that of each point of the grid.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def at(self, points: NDArray[np.float64], grid: NDArray[np.float64]) -> Measurement:
        """The same on other points."""
        return Measurement(
            mean=np.interp(points, grid, self.mean),
            deviation=np.interp(points, grid, self.deviation),
        )

    def likelihood(self, sign: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each point given a sign, shape (n, points)."""
        away = sign[:, None] - self.mean
        away /= self.deviation
        away *= away
        away *= -0.5
        # Nobody's sign rules a point out altogether: predictions have outliers.
        np.maximum(away, -12.0, out=away)
        np.exp(away, out=away)
        away /= self.deviation
        return np.asarray(away)

    @classmethod
    def learned(
        cls, points: NDArray[np.float64], mass: NDArray[np.float64], sign: NDArray[np.float64]
    ) -> Self:
        """Mean as a cubic, variance as a smooth curve, given how likely each patient is where.

        Parameters
        ----------
        points : float64 array, shape (points,)
        mass : float64 array, shape (n, points)
            Rows of sum 1, or of how many patients each stands for.
        sign : float64 array, shape (n,)
        """
        weight, first, second = mass.sum(axis=0), sign @ mass, (sign**2) @ mass
        total = weight.sum()
        middle = float(weight @ points / total)
        spread = max(float(np.sqrt(weight @ (points - middle) ** 2 / total)), 1e-3)
        u = np.clip((points - middle) / spread, -4.0, 4.0)
        basis = np.vander(u, 4, increasing=True)
        gram = (basis * weight[:, None]).T @ basis + np.diag(RIDGE)
        mean = basis @ np.linalg.solve(gram, basis.T @ first)
        around = np.maximum(second - 2 * mean * first + mean**2 * weight, 0.0)
        common = float(around.sum() / total)
        near = np.exp(-0.5 * ((u[:, None] - u) / BANDWIDTH) ** 2)
        variance = (near @ around + VARIANCE_PSEUDO * common) / (near @ weight + VARIANCE_PSEUDO)
        return cls(mean=mean, deviation=np.sqrt(np.maximum(variance, SMALLEST_DEVIATION**2)))

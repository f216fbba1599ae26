"""How far a patient's records lie from those of other patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.places import Places

NTH = 5  # the distance that is told is that to the fifth nearest record of another patient
AT_ONCE = 64  # patients


class Crowd:
    """An even sample of records, from which distances are measured.

    Parameters
    ----------
    places : Places
    most : int
        Records of the sample.
    """

    def __init__(self, places: Places, most: int) -> None:
        chosen = np.unique(np.linspace(0, len(places) - 1, most).astype(np.int64))
        self._places = places
        self._points = places.points[chosen]
        self._squares = (self._points**2).sum(axis=1)
        self._whose = places.patient[chosen]

    def distances(
        self, records: Sequence[NDArray[np.int64]], patients: Sequence[int] | NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Of each patient's farthest record from its fifth nearest of others, shape (patients,).

        Parameters
        ----------
        records : sequence of int64 arrays
            Of each patient, at least one, in the order of the places.
        patients : sequence of int
            Their numbers.
        """
        found = np.empty(len(records))
        for start in range(0, len(records), AT_ONCE):
            some = records[start : start + AT_ONCE]
            sizes = np.array([one.size for one in some])
            square = squares(self._places.points[np.concatenate(some)], self._points, self._squares)
            owner = np.repeat(np.asarray(patients[start : start + AT_ONCE]), sizes)
            square[owner[:, None] == self._whose] = np.inf
            nth = min(NTH, square.shape[1]) - 1
            told = np.partition(square, nth, axis=1)[:, nth]
            found[start : start + AT_ONCE] = np.maximum.reduceat(told, np.cumsum(sizes) - sizes)
        return np.sqrt(found)


def squares(
    points: NDArray[np.float32],
    others: NDArray[np.float32],
    lengths: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Squared distances, shape (len(points), len(others)).

    Parameters
    ----------
    points, others : float32 array, shape (records, columns)
    lengths : float32 array, shape (len(others),), optional
        Squared lengths of the others, where they are known.
    """
    square = points @ others.T
    square *= -2
    square += (points**2).sum(axis=1)[:, None]
    square += (others**2).sum(axis=1) if lengths is None else lengths
    return np.asarray(np.maximum(square, 0, out=square))

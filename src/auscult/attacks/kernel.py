"""How alike records are, for predictions of one record's signals from those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from auscult.attacks.layout import Layout
    from auscult.attacks.places import Places

IN_CACHE = 32  # rows of which the kernels with all landmarks stay in the processor's cache


class Kernel:
    """Likeness of rows to the landmarks: Gaussian in inputs, times what their classes share.

    A binary model that is kinder to one class is harder on the other by as much: its signal changes
    sign between the classes. With K classes whose logits vary alike, log-odds of different classes
    have correlation -1 / (K - 1).

    Parameters
    ----------
    layout : Layout
    places : Places
        Where its records lie.
    landmarks : int64 array
        Rows that others are compared with.

    Attributes
    ----------
    width : float
        Squared distance at which the likeness falls by e; to be set.
    """

    def __init__(self, layout: Layout, places: Places, landmarks: NDArray[np.int64]) -> None:
        self._order, self._places = layout.order, places
        classes, self._class = np.unique(layout.stratum, return_inverse=True)
        k = classes.size
        self._shared = np.ones((1, 1)) if k == 1 else (k * np.eye(k) - 1) / (k - 1)
        self._far = self._at(landmarks)
        self._square = (self._far**2).sum(axis=1)
        self._their = self._class[landmarks]
        self.width = 1.0

    def _at(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(self._places.points[self._order[rows]], dtype=np.float32)

    def distance(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Squared distances, shape (rows, landmarks)."""
        found, square = self._products(rows)
        return self._distance(found, square)

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Likeness of rows to the landmarks, shape (rows, landmarks)."""
        products, square = self._products(rows)
        shared = self._shared[:, self._their]
        found = np.empty(products.shape)
        # A few rows at a time: they stay in the cache from the first step to the last.
        for start in range(0, len(rows), IN_CACHE):
            some = slice(start, start + IN_CACHE)
            near = self._distance(products[some], square[some])
            near *= np.float32(-1 / self.width)
            np.exp(near, out=near)
            np.multiply(near, shared[self._class[rows[some]]], out=found[some])
        return found

    def _products(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Of rows and landmarks, shape (rows, landmarks), and of rows and themselves."""
        near = self._at(rows)
        return np.asarray(near @ self._far.T), (near**2).sum(axis=1)[:, None]

    def _distance(self, products: NDArray[np.float32], square: NDArray[Any]) -> NDArray[np.float32]:
        """Squared distances, written over the products."""
        products *= -2
        products += square
        products += self._square
        return np.asarray(np.maximum(products, 0, out=products))

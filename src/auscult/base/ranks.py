"""Ranks, ties sharing their mean.

Those of scipy.stats do the same; loading it takes as long as loading all of Auscult.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ranks(values: NDArray[Any], axis: int = -1) -> NDArray[np.float64]:
    """Rank of each value along an axis, from 1; equal ones share the mean of their ranks.

    Parameters
    ----------
    values : array
    axis : int

    Returns
    -------
    float64 array of the same shape
        NaN wherever there is a NaN along the axis: it has no place among the others.
    """
    rows = np.moveaxis(values, axis, -1)
    if not rows.size:
        return np.empty(values.shape)
    order = np.argsort(rows, axis=-1)
    ordered = np.take_along_axis(rows, order, axis=-1)
    place = np.arange(rows.shape[-1])
    # Where each run of equal values begins and where it ends.
    new = np.ones(rows.shape, dtype=bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    begin = np.maximum.accumulate(np.where(new, place, 0), axis=-1)
    new[..., :-1], new[..., -1] = new[..., 1:].copy(), True
    last = np.where(new, place, place[-1])
    end = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    found = np.empty(rows.shape)
    np.put_along_axis(found, order, (begin + end) / 2 + 1, axis=-1)
    found[np.isnan(ordered[..., -1])] = np.nan  # they are sorted to the end
    return np.moveaxis(found, -1, axis)

"""What numbers prove of their own meaning: direction, scale, order of classes.

A shape proves nothing. These functions look for what could hardly be otherwise if the numbers meant
what they were taken for; whoever calls them refuses, or says what was proved.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from auscult.base.ranks import average_ranks

MOST_LOOKED_AT = 20_000
MOST_MODELS_LOOKED_AT = 32
FEWEST_PATIENTS = 8
SURE = 5.0  # standard errors
ROUNDED = 2e-3  # of a sum of shares: 16-bit floats
MOST_ORDERED = 200  # classes whose order is looked at
FEWEST_OF_CLASS = 4


def total_of_rows(values: NDArray[np.floating]) -> float | None:
    """The number that all rows add up to, when no value is negative; None where there is none.

    Parameters
    ----------
    values : float array, shape (..., columns)
        1 for probabilities, 100 for percentages. A sample of the rows is looked at.
    """
    if values.shape[-1] < 2:
        return None
    rows = values.reshape(-1, values.shape[-1])
    rows = np.asarray(rows[:: max(1, len(rows) // MOST_LOOKED_AT)], dtype=np.float64)
    if not len(rows) or rows.min() < -1e-6:
        return None
    sums = rows.sum(axis=1)
    total = float(np.median(sums))
    if total <= 0 or np.abs(sums - total).max() > ROUNDED * total:
        return None
    return total


def within_unit(values: NDArray[np.floating]) -> bool:
    """Whether all values lie from 0 to 1."""
    return bool(values.size and values.min() >= 0 and values.max() <= 1)


def one_in_each_row(labels: NDArray[np.integer]) -> bool:
    """Whether every row of 0 and 1 has exactly one 1."""
    return bool(
        labels.ndim == 2
        and labels.shape[1] > 1
        and np.isin(labels, (0, 1)).all()
        and (labels.sum(axis=1) == 1).all()
    )


def direction(
    signals: NDArray[np.floating],
    membership: NDArray[np.bool_],
    patient_of_record: NDArray[np.integer],
) -> tuple[float, float]:
    """Whether members have the higher signals: mean AUC over patients, and its distance from 0.5.

    Parameters
    ----------
    signals : float array, shape (models, records)
    membership : bool array, shape (models, patients)
    patient_of_record : int array, shape (records,)

    Returns
    -------
    auc : float
        Mean over patients (one record of each) of the AUC over models; 0.5 where it cannot be told.
    distance : float
        In standard errors; memberships of patients are drawn apart from one another, so that the
        patients' AUCs are independent where the signals say nothing.
    """
    patients, first = np.unique(patient_of_record, return_index=True)
    step = max(1, len(patients) // MOST_LOOKED_AT)
    patients, first = patients[::step], first[::step]
    member = membership[:, patients]
    inside = member.sum(axis=0)
    outside = len(member) - inside
    usable = (inside > 0) & (outside > 0)
    if usable.sum() < FEWEST_PATIENTS:
        return 0.5, 0.0
    ranks = average_ranks(np.asarray(signals[:, first[usable]], dtype=np.float64).T).T
    n, m = inside[usable], outside[usable]
    auc = ((ranks * member[:, usable]).sum(axis=0) - n * (n + 1) / 2) / (n * m)
    error = max(float(auc.std(ddof=1)), 1e-3) / np.sqrt(auc.size)
    return float(auc.mean()), float((auc.mean() - 0.5) / error)


def better_order(
    values: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.int64] | None:
    """The order of columns that fits the labels clearly better than the one given, or None.

    Parameters
    ----------
    values : float array, shape (models, records, classes)
        Logits or log-probabilities; one column is a log-odds.
    labels : int array, shape (records,) or (records, classes) of 0 and 1

    Returns
    -------
    int64 array, shape (classes,), or None
        Column of each class. Found on half of the records, and better on the other half by more
        than five standard errors.
    """
    if np.ndim(labels) == 2:
        return _order_of_several(values, labels)
    columns = max(values.shape[2], 2)
    if columns > MOST_ORDERED or len(labels) < 2 * FEWEST_OF_CLASS:
        return None
    records = slice(None, None, max(1, len(labels) // MOST_LOOKED_AT))
    models = slice(None, None, max(1, len(values) // MOST_MODELS_LOOKED_AT))
    y = np.asarray(labels)[records]
    z = np.asarray(values[models, records], dtype=np.float64)
    if z.shape[2] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=2)
    p = softmax(z, axis=2).mean(axis=0)
    lift = p - p.mean(axis=0)  # a class that is given much to everybody fits none the better
    order = np.argsort(y, kind="stable")
    half = np.empty(len(y), dtype=np.bool_)
    half[order] = np.arange(len(y)) % 2 == 0
    mean = np.zeros((columns, columns))
    for c in range(columns):
        rows = half & (y == c)
        if rows.sum() >= FEWEST_OF_CLASS:
            mean[c] = lift[rows].mean(axis=0)
    _, found = linear_sum_assignment(-mean)
    seen = np.bincount(y[~half], minlength=columns)
    moved = (found != np.arange(columns)) & (seen >= FEWEST_OF_CLASS) & (mean != 0).any(axis=1)
    rows = ~half & moved[y]
    if rows.sum() < 2 * FEWEST_OF_CLASS:
        return None
    gain = lift[rows, found[y[rows]]] - lift[rows, y[rows]]
    error = max(float(gain.std(ddof=1)), 1e-9) / np.sqrt(gain.size)
    if gain.mean() / error < SURE:
        return None
    return np.asarray(found, dtype=np.int64)


def _order_of_several(
    values: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.int64] | None:
    """As :func:`better_order`, where several labels may hold at once."""
    columns = labels.shape[1]
    if columns > MOST_ORDERED or values.shape[2] != columns:
        return None
    records = slice(None, None, max(1, len(labels) // MOST_LOOKED_AT))
    models = slice(None, None, max(1, len(values) // MOST_MODELS_LOOKED_AT))
    y = np.asarray(labels)[records].astype(np.float64)
    z = np.asarray(values[models, records], dtype=np.float64).mean(axis=0)
    spread = np.maximum(z.std(axis=0), 1e-12)
    z = (z - z.mean(axis=0)) / spread
    first = np.arange(len(y)) % 2 == 0
    centred = y - y.mean(axis=0)
    _, found = linear_sum_assignment(-(centred[first].T @ z[first]))
    moved = found != np.arange(columns)
    seen = y[~first].sum(axis=0)
    moved &= (seen >= FEWEST_OF_CLASS) & (len(y[~first]) - seen >= FEWEST_OF_CLASS)
    if not moved.any():
        return None
    place = np.flatnonzero(moved)
    there = centred[:, place][~first]
    now, then = z[:, place][~first], z[:, found[place]][~first]
    for gain in ((there * (then - now)).sum(axis=1), (there * then).sum(axis=1)):
        error = max(float(gain.std(ddof=1)), 1e-9) / np.sqrt(gain.size)
        if gain.mean() / error < SURE:
            return None
    return np.asarray(found, dtype=np.int64)


def listed_order(found: Iterable[int], shown: int = 12) -> str:
    """An order of columns in words."""
    numbers = [str(int(n)) for n in found]
    return ", ".join(numbers[:shown]) + (", ..." if len(numbers) > shown else "")

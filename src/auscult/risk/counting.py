"""The AUC of a patient by counting, and how noisy a counted AUC is (Mann & Whitney 1947).

Nothing is supposed about the distribution of the scores. The AUC is the share of pairs of an IN and
an OUT model in which the IN model scores higher, ties counting half. Its sampling variance has an
unbiased estimate from the same pairs, because every second moment in it is itself a share of pairs
of pairs (Bamber 1975): with ``w`` the outcome of a pair (0, 1/2 or 1),

    n1 n0 var = E w^2 - A^2 + (n0 - 1) (Q1 - A^2) + (n1 - 1) (Q0 - A^2),

``Q1`` the mean product of two pairs that share their IN model, ``Q0`` of two that share their OUT
model, ``A^2`` of two that share none. The estimate of one patient from a few dozen models is noisy
and may even be negative; :mod:`auscult.risk.estimate` takes those of all patients together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import BYTES_AT_ONCE

FEW_PLACES = 32  # up to here comparing every pair is faster than sorting


@dataclass(frozen=True, kw_only=True, eq=False)
class Counted:
    """Counted AUCs, shape (n,) each; NaN where not estimable.

    Attributes
    ----------
    auc : float64 array
        Mann-Whitney AUC inside folds, averaged with weights n_in * n_out.
    noise : float64 array
        Unbiased estimate of its sampling variance.
    spread : float64 array
        Unbiased estimate of ``A (1 - A)``, A the true AUC.
    reach : float64 array
        Mean of 1 / n_in and 1 / n_out over all folds: by this the variance of the count scales.
    pairs : float64 array
        Number of pairs of models.
    """

    auc: NDArray[np.float64]
    noise: NDArray[np.float64]
    spread: NDArray[np.float64]
    reach: NDArray[np.float64]
    pairs: NDArray[np.float64]

    @classmethod
    def empty(cls, n: int) -> Self:
        """Room for `n` counts, to be put in part by part."""
        return cls(**{field.name: np.empty(n) for field in fields(cls)})

    @classmethod
    def joined(cls, parts: Sequence[Counted]) -> Self:
        """Counts of several parts as one."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})

    def put(self, rows: slice | NDArray[np.int64], part: Counted) -> None:
        """Put counts in their place."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(part, field.name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Placements:
    """What each model says of a patient's AUC.

    Attributes
    ----------
    counted : Counted
        Shape (n,).
    influence : float64 array, shape (n, folds, 2, places)
        By how much each model moves the counted AUC (its influence function); sums to 0 over the
        models of a class in a fold, and is scaled for unbiased covariances: the sum over models of
        its product with another figure's influence. 0 where a place is not used.
    """

    counted: Counted
    influence: NDArray[np.float64]


def placements(values: NDArray[np.float64], weight: NDArray[np.float64]) -> Placements:
    """Compare every IN model with every OUT model of its fold.

    Parameters
    ----------
    values, weight : float64 array, shape (n, folds, 2, places)
        Class 0 is OUT, class 1 is IN. Weights are 1, or 0 where a place is not used.
    """
    n, folds, _, places = values.shape
    counted, influence = Counted.empty(n), np.empty(values.shape)
    rows = max(1, BYTES_AT_ONCE // (64 * folds * places))
    for start in range(0, n, rows):
        here = slice(start, min(start + rows, n))
        part = _place(values[here], weight[here])
        counted.put(here, part.counted)
        influence[here] = part.influence
    broken = np.isnan(values).any(axis=(1, 2, 3))
    for field in fields(counted):
        getattr(counted, field.name)[broken] = np.nan
    influence[broken] = 0.0
    return Placements(counted=counted, influence=influence)


def _place(values: NDArray[np.float64], weight: NDArray[np.float64]) -> Placements:
    won, tied = _wins(values, weight)  # (n, folds, 2, places)
    number = weight.sum(axis=3)  # (n, folds, 2)
    many = number.prod(axis=2)  # pairs of each fold
    total = won[:, :, 1].sum(axis=2)  # won pairs of each fold
    pairs, all_won = many.sum(axis=1), total.sum(axis=1)
    squares = all_won - tied / 4
    # Sums of products of two different pairs that share a model of one class.
    shared = (won**2).sum(axis=(1, 3)) - squares[:, None]  # (n, 2): sharing OUT, sharing IN
    apart = all_won**2 - shared.sum(axis=1) - squares
    others = number[:, :, ::-1] - 1  # models of the other class that a pair could have had besides
    ways = (many[:, :, None] * others).sum(axis=1)  # (n, 2): sharing OUT needs another IN
    # Folds weigh by their pairs, so the variance is that of the sum of all pairs.
    ways_apart = pairs**2 - ways.sum(axis=1) - pairs
    with np.errstate(divide="ignore", invalid="ignore"):
        auc = all_won / pairs
        square = apart / ways_apart
        noise = (squares + shared.sum(axis=1) - square * (pairs + ways.sum(axis=1))) / pairs**2
        inverse = np.where(number > 0, 1 / number, 0.0).sum(axis=2) / 2
        reach = (inverse * many**2).sum(axis=1) / pairs**2
        mean = np.where(many > 0, total / many, 0.0)
        # A place's share of the other class that it beats, or that beats it, less the mean.
        share = np.where(many > 0, 1 / many, 0.0)[:, :, None, None] * number[:, :, :, None] * won
        pull = (share - mean[:, :, None, None]) * weight
        pull *= (many / pairs[:, None])[:, :, None, None]
        # One degree of freedom is lost to the mean that was taken away.
        influence = np.where(number[..., None] > 1, pull / (number[..., None] - 1), 0.0)
    return Placements(
        counted=Counted(auc=auc, noise=noise, spread=auc - square, reach=reach, pairs=pairs),
        influence=influence,
    )


def _wins(
    values: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs that each model wins for IN, and number of tied pairs of each patient."""
    return (_compared if values.shape[3] <= FEW_PLACES else _sorted)(values, weight)


def _compared(
    values: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """See :func:`_wins`; every pair is looked at."""
    inside, outside = values[:, :, 1, :, None], values[:, :, 0, None, :]
    used = weight.astype(np.float32)
    above, level = inside > outside, inside >= outside
    # 2 for a pair that is won, 1 for a tied one.
    twice = (above.view(np.int8) + level.view(np.int8)).astype(np.float32)
    won = np.empty(values.shape)
    won[:, :, 1] = np.einsum("nfio,nfo->nfi", twice, used[:, :, 0])
    won[:, :, 0] = np.einsum("nfio,nfi->nfo", twice, used[:, :, 1])
    won *= 0.5 * weight
    equal = level ^ above
    tied = np.zeros(len(values))
    if equal.any():
        tied += np.einsum("nfio,nfi,nfo->n", equal, used[:, :, 1], used[:, :, 0])
    return won, tied


def _sorted(
    values: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """See :func:`_wins`; a model's wins are the others below it, once all are sorted."""
    n, folds, _, places = values.shape
    flat = values.reshape(n * folds, 2 * places)
    order = np.argsort(flat, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    used = np.take_along_axis(weight.reshape(flat.shape), order, axis=1) > 0
    inside, outside = (order >= places) & used, (order < places) & used
    first = np.ones(flat.shape, dtype=bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    last = np.ones(flat.shape, dtype=bool)
    last[:, :-1] = first[:, 1:]
    found = np.zeros(flat.shape)
    tied = np.zeros(n * folds)
    for mine, other in ((inside, outside), (outside, inside)):
        upto = np.cumsum(other, axis=1, dtype=np.int32)
        below = np.maximum.accumulate(np.where(first, upto - other, 0), axis=1)
        ends = np.where(last, upto, np.iinfo(np.int32).max)
        equal = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1] - below
        share = below + 0.5 * equal
        if mine is outside:
            share = upto[:, -1:] - share
        else:
            tied = np.where(mine, equal, 0).sum(axis=1)
        found += np.where(mine, share, 0.0)
    won = np.empty(flat.shape)
    np.put_along_axis(won, order, found, axis=1)
    return won.reshape(values.shape), tied.reshape(n, folds).sum(axis=1).astype(np.float64)

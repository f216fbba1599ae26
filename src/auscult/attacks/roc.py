"""The ROC of an attack on records, averaged over all targets, with its interval.

Ties count half: a ROC whose points depend on the order in which equal scores happen to be sorted is
wrong, so a curve passes through a group of ties in a straight line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from auscult.layout import Layout

FPR_GRID = tuple(float(f"{x:.4g}") for x in np.logspace(-5, 0, 61))
REPORTED_FPR = (0.0001, 0.001, 0.01, 0.1)
REPLICATES = 500
PATIENT_GROUPS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class AggregateRoc:
    """Mean over targets of what an attack on records achieves.

    Attributes
    ----------
    auc, low, high : float
        Area under the curve with its 95% interval.
    fpr, tpr, tpr_low, tpr_high : float64 array, shape (points,)
        Only false positive rates of which the targets' OUT records hold at least one.
    targets : int
    records : int
        Median number of OUT records per target.
    """

    auc: float
    low: float
    high: float
    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    tpr_low: NDArray[np.float64]
    tpr_high: NDArray[np.float64]
    targets: int
    records: int

    def tpr_at(self, fpr: float) -> tuple[float, float, float] | None:
        """True positive rate with its interval, or None where it is not resolved."""
        at = np.flatnonzero(np.isclose(self.fpr, fpr))
        if not at.size:
            return None
        i = int(at[0])
        return float(self.tpr[i]), float(self.tpr_low[i]), float(self.tpr_high[i])


def exact_auc(members: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Probability that a member's score exceeds a non-member's, ties half (Mann-Whitney)."""
    ranks = rankdata(np.concatenate([members, others]))
    won = ranks[: members.size].sum() - members.size * (members.size + 1) / 2
    return float(won / (members.size * others.size))


def aggregate_roc(
    layout: Layout, scores: NDArray[np.floating], rng: np.random.Generator
) -> AggregateRoc:
    """Average the ROC over all targets; interval by bootstrap over models and patients.

    Patients are drawn in at most 100 groups of whole patients, so a replicate needs one pass over
    counts and not over records.

    Parameters
    ----------
    layout : Layout
    scores : float array, shape (records, models)
        NaN rows are left out.
    rng : numpy.random.Generator
        For the bootstrap only.
    """
    usable = np.isfinite(scores[:, 0])
    patient = layout.patient[usable]
    groups = min(PATIENT_GROUPS, layout.patients)
    group = rng.permutation(layout.patients)[patient] % groups
    aucs, counts = [], []
    median_out = int(np.median([(~layout.member[patient, m]).sum() for m in range(layout.models)]))
    grid = np.array([f for f in FPR_GRID if f * median_out >= 1])
    for model in range(layout.models):
        inside = layout.member[patient, model]
        if not inside.any() or inside.all():
            continue
        column = scores[usable, model].astype(np.float64)
        aucs.append(exact_auc(column[inside], column[~inside]))
        counts.append(_counts(column, inside, group, groups, grid))
    table = np.stack(counts)  # (targets, groups, 2, bins)
    ones = np.ones((table.shape[0], groups))
    tpr, binned_auc = _curve(table, ones[:, 0], ones[0], grid)
    draws_tpr = np.empty((REPLICATES, grid.size))
    draws_auc = np.empty(REPLICATES)
    for b in range(REPLICATES):
        models = rng.multinomial(table.shape[0], np.full(table.shape[0], 1 / table.shape[0]))
        patients = rng.multinomial(groups, np.full(groups, 1 / groups))
        draws_tpr[b], draws_auc[b] = _curve(table, models, patients, grid)
    auc = float(np.mean(aucs))
    low, high = np.quantile(draws_auc, [0.025, 0.975]) - binned_auc + auc
    # In the far left few records carry the curve and a replicate's interpolation is biased upwards:
    # the spread of the replicates is used, not their place.
    tpr_low, tpr_high = (
        np.quantile(draws_tpr, [0.025, 0.975], axis=0) - np.median(draws_tpr, axis=0) + tpr
    )
    return AggregateRoc(
        auc=auc,
        low=float(np.clip(low, 0, 1)),
        high=float(np.clip(high, 0, 1)),
        fpr=grid,
        tpr=tpr,
        tpr_low=np.clip(tpr_low, 0, 1),
        tpr_high=np.clip(tpr_high, 0, 1),
        targets=len(aucs),
        records=median_out,
    )


def _counts(
    column: NDArray[np.float64],
    inside: NDArray[np.bool_],
    group: NDArray[np.int64],
    groups: int,
    grid: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Records per group, class and score bin, shape (groups, 2, bins); bin 0 holds the highest."""
    others = np.sort(column[~inside])[::-1]
    last = np.minimum(np.ceil(grid * others.size).astype(np.int64), others.size) - 1
    edges = np.unique(others[last])  # ascending
    place = edges.size - np.searchsorted(edges, column, side="right")
    bins = grid.size + 1
    key = (group * 2 + inside) * bins + place
    return np.bincount(key, minlength=groups * 2 * bins).reshape(groups, 2, bins).astype(float)


def _curve(
    table: NDArray[np.float64],
    models: NDArray[np.floating] | NDArray[np.integer],
    patients: NDArray[np.floating] | NDArray[np.integer],
    grid: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """Mean curve on the grid and mean area, each target weighted by `models`."""
    binned = np.einsum("tgcb,g->tcb", table, patients.astype(np.float64))
    total = np.maximum(binned.sum(axis=2, keepdims=True), 1e-12)
    rates = np.concatenate([np.zeros_like(total), np.cumsum(binned, axis=2) / total], axis=2)
    tpr = np.zeros(grid.size)
    area = 0.0
    for weight, rate in zip(models, rates, strict=True):
        if weight:
            tpr += weight * np.interp(grid, *_climbing(rate[0], rate[1]))
            area += weight * float(np.trapezoid(rate[1], rate[0]))
    return tpr / models.sum(), area / float(models.sum())


def _climbing(
    fpr: NDArray[np.float64], tpr: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep the highest point of each vertical step, so that interpolation is defined."""
    last = np.append(fpr[1:] > fpr[:-1], True)
    return fpr[last], tpr[last]

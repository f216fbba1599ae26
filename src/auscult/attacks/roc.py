"""The ROC of an attack on records, averaged over all targets, with its interval.

Ties count half: a ROC whose points depend on the order in which equal scores happen to be sorted is
wrong, so a curve passes through a group of ties in a straight line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Layout
from auscult.attacks.record import RecordAttack
from auscult.base.parallel import in_order, let_go
from auscult.base.progress import SILENT, Progress

FPR_GRID = tuple(float(f"{x:.4g}") for x in np.logspace(-5, 0, 61))
REPORTED_FPR = (0.0001, 0.001, 0.01, 0.1)
REPLICATES = 500
PATIENT_GROUPS = 100
BOOTSTRAP_CELLS = 1 << 16
SCORES_AT_ONCE = 1 << 15


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
    return _auc_of_sorted(np.sort(members), np.sort(others))


def _auc_of_sorted(members: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """As :func:`exact_auc`, of scores in ascending order."""
    wins = 0
    for start in range(0, members.size, SCORES_AT_ONCE):
        some = members[start : start + SCORES_AT_ONCE]
        # All of these members lie above the others before `first` and below those from `last` on.
        first = int(np.searchsorted(others, some[0], side="left"))
        last = int(np.searchsorted(others, some[-1], side="right"))
        near = others[first:last]
        below = np.searchsorted(near, some, side="left").sum(dtype=np.int64)
        not_above = np.searchsorted(near, some, side="right").sum(dtype=np.int64)
        wins += int(below + not_above) + 2 * first * some.size
    return wins / 2 / (members.size * others.size)


def aggregate_roc(
    layout: Layout,
    scores: Callable[[int], NDArray[np.floating]],
    rng: np.random.Generator,
    progress: Progress = SILENT,
    *,
    weight: Callable[[int], NDArray[np.float64]] | None = None,
) -> AggregateRoc:
    """Average the ROC over all targets; interval by bootstrap over models and patients.

    Patients are drawn in at most 100 groups of whole patients, so a replicate needs one pass over
    counts and not over records.

    Parameters
    ----------
    layout : Layout
    scores : callable
        From a target's number to the scores of all records, shape (records,); NaN ones are left
        out.
    rng : numpy.random.Generator
        For the bootstrap only.
    progress : Progress
        Advanced by one per target.
    weight : callable, optional
        From a target's number to how much each record counts among the members, shape (records,),
        at least 0. Records outside count 1. All count 1 when absent.
    """
    groups = min(PATIENT_GROUPS, layout.patients)
    group = (rng.permutation(layout.patients) % groups).astype(np.int16)[layout.patient]
    usable = layout.estimable()
    per_patient = np.where(usable, layout.count, 0)
    outside = [int(per_patient[~layout.member[:, m]].sum()) for m in range(layout.models)]
    targets = [m for m in range(layout.models) if 0 < outside[m] < int(per_patient.sum())]
    median_out = int(np.median(outside))
    grid = np.array([f for f in FPR_GRID if f * median_out >= 1])

    def judge(model: int) -> tuple[float, NDArray[np.float64]]:
        column, patient, part = scores(model), layout.patient, group
        mass = None if weight is None else weight(model)
        kept = np.isfinite(column)
        if not kept.all():
            column, patient, part = column[kept], patient[kept], part[kept]
            mass = None if mass is None else mass[kept]
        inside = layout.member[:, model][patient]
        let_go(layout.member)
        others = np.sort(column[~inside])
        if mass is not None:
            mass = np.where(inside, mass, 1.0)
            return np.nan, _counts(column, inside, others, part, groups, grid, mass)
        auc = _auc_of_sorted(np.sort(column[inside]), others)
        return auc, _counts(column, inside, others, part, groups, grid)

    aucs, counts = [], []
    for auc, count in in_order(judge, targets):
        aucs.append(auc)
        counts.append(count)
        progress.advance()
    n = len(targets)
    # By group first, as every replicate adds them up: (groups, targets x 2 x bins).
    table = np.stack(counts, axis=1).reshape(groups, -1)
    tpr, binned_auc = _curves(table, np.ones((1, n)), np.ones((1, groups)), grid)
    models = rng.multinomial(n, np.full(n, 1 / n), REPLICATES)
    patients = rng.multinomial(groups, np.full(groups, 1 / groups), REPLICATES)
    step = max(1, BOOTSTRAP_CELLS // (n * grid.size))

    def resample(start: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        drawn = slice(start, start + step)
        return _curves(table, models[drawn], patients[drawn], grid)

    draws = list(in_order(resample, range(0, REPLICATES, step)))
    draws_tpr, draws_auc = (np.concatenate([draw[i] for draw in draws]) for i in (0, 1))
    # Of weighted members the area comes from the binned curve.
    auc = float(np.mean(aucs)) if weight is None else float(binned_auc[0])
    low, high = np.quantile(draws_auc, [0.025, 0.975]) - binned_auc[0] + auc
    # In the far left few records carry the curve and a replicate's interpolation is biased upwards:
    # the spread of the replicates is used, not their place.
    tpr_low, tpr_high = (
        np.quantile(draws_tpr, [0.025, 0.975], axis=0) - np.median(draws_tpr, axis=0) + tpr[0]
    )
    return AggregateRoc(
        auc=auc,
        low=float(np.clip(low, 0, 1)),
        high=float(np.clip(high, 0, 1)),
        fpr=grid,
        tpr=tpr[0],
        tpr_low=np.clip(tpr_low, 0, 1),
        tpr_high=np.clip(tpr_high, 0, 1),
        targets=n,
        records=median_out,
    )


def roc_of_attack(
    attack: RecordAttack, layout: Layout, rng: np.random.Generator, progress: Progress = SILENT
) -> AggregateRoc:
    """Run an attack and average its ROC; `progress` advances by two per record.

    Parameters
    ----------
    attack : RecordAttack
    layout : Layout
    rng : numpy.random.Generator
        For the bootstrap over models and groups of patients.
    progress : Progress
    """
    scores = attack.score(layout, progress)

    def of_target(model: int) -> NDArray[np.floating]:
        progress.advance(layout.records / layout.models)
        return attack.of_target(scores, layout, model)

    return aggregate_roc(layout, of_target, rng)


def _counts(
    column: NDArray[np.floating],
    inside: NDArray[np.bool_],
    others: NDArray[np.floating],
    group: NDArray[np.integer],
    groups: int,
    grid: NDArray[np.float64],
    mass: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Records per group, class and score bin, shape (groups, 2, bins); bin 0 holds the highest.

    `others` are the scores outside, ascending; `mass` is what each record counts, 1 when absent.
    """
    last = np.minimum(np.ceil(grid * others.size).astype(np.int64), others.size)
    edges = np.unique(others[others.size - last])  # ascending
    bins = grid.size + 1
    total = np.zeros(groups * 2 * bins)
    # In pieces that stay in the cache: whole columns of a large cohort cost twice as much.
    for start in range(0, column.size, SCORES_AT_ONCE):
        some = slice(start, start + SCORES_AT_ONCE)
        place = edges.size - np.searchsorted(edges, column[some], side="right")
        key = (group[some].astype(np.int64) * 2 + inside[some]) * bins + place
        counted = None if mass is None else mass[some]
        total += np.bincount(key, weights=counted, minlength=total.size)
    return total.reshape(groups, 2, bins)


def _curves(
    table: NDArray[np.float64],
    models: NDArray[np.floating] | NDArray[np.integer],
    patients: NDArray[np.floating] | NDArray[np.integer],
    grid: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean curves on the grid and mean areas of several replicates.

    Parameters
    ----------
    table : float64 array, shape (groups, targets x 2 x bins)
    models : array, shape (replicates, targets)
        Weight of each target.
    patients : array, shape (replicates, groups)
        Weight of each group of patients.
    grid : float64 array, shape (points,)

    Returns
    -------
    tpr : float64 array, shape (replicates, points)
    area : float64 array, shape (replicates,)
    """
    replicates, targets, bins = *models.shape, grid.size + 1
    binned = np.dot(patients.astype(np.float64), table).reshape(replicates, targets, 2, bins)
    total = np.maximum(binned.sum(axis=3, keepdims=True), 1e-12)
    rates = np.zeros((replicates, targets, 2, bins + 1))
    np.cumsum(binned, axis=3, out=rates[..., 1:])
    rates[..., 1:] /= total
    fpr, tpr = rates[:, :, 0], rates[:, :, 1]  # (replicates, targets, nodes)
    # Last node at or before each point: on a vertical step that is its highest. Nodes are counted
    # by the first point that is not before them.
    first = np.searchsorted(grid + 1e-12, fpr.reshape(-1, bins + 1), side="left")
    first += bins * np.arange(len(first))[:, None]
    counted = np.bincount(first.ravel(), minlength=bins * len(first))
    before = np.cumsum(counted.reshape(replicates, targets, bins)[..., :-1], axis=2) - 1
    after = np.minimum(before + 1, bins)
    x0, x1 = (np.take_along_axis(fpr, at, axis=2) for at in (before, after))
    y0, y1 = (np.take_along_axis(tpr, at, axis=2) for at in (before, after))
    share = np.where(x1 > x0, (grid - x0) / np.where(x1 > x0, x1 - x0, 1.0), 0.0)
    weight = models / models.sum(axis=1, keepdims=True)
    curves = np.einsum("rt,rtp->rp", weight, y0 + np.clip(share, 0, 1) * (y1 - y0))
    area = np.einsum("rt,rt->r", weight, np.trapezoid(tpr, fpr, axis=2))
    return curves, area

"""Each record on its own: the study's figure, its counted AUC, and the signs of its risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from auscult.attacks.dealing import Deal, deal
from auscult.attacks.joint import PatientScores
from auscult.attacks.layout import Centring, Layout
from auscult.base.parallel import let_go, scratch
from auscult.risk.counting import Counted, Placements, placements

QUANTILES = 257
MOST_VALUES = 1 << 18


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordRisk:
    """Each record on its own, over all models; rows in the layout's order.

    Attributes
    ----------
    counted : Counted
        Shape (records,).
    signs : Signs
        Of the records.
    """

    counted: Counted
    signs: Signs

    @classmethod
    def empty(cls, n: int) -> Self:
        """Room for `n` records, to be put in part by part."""
        room = scratch((9, n), np.float64)
        names = ("auc", "noise", "spread", "reach", "pairs")
        return cls(
            counted=Counted(**dict(zip(names, room, strict=False))),
            signs=Signs(values=room[5:7].T, coupling=room[7:].T),
        )

    def put(self, rows: slice, part: RecordRisk) -> None:
        """Put risks in their place."""
        self.counted.put(rows, part.counted)
        self.signs.values[rows] = part.signs.values
        self.signs.coupling[rows] = part.signs.coupling
        let_go(self.signs.values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Signs:
    """What may predict a record's or patient's AUC: level and spread of its signals.

    Attributes
    ----------
    values : float64 array, shape (n, 2)
        Mean and log variance over the OUT models.
    coupling : float64 array, shape (n, 2)
        Sampling covariance of their errors with that of the counted AUC.
    """

    values: NDArray[np.float64]
    coupling: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Signs]) -> Self:
        """Signs of several parts as one."""
        return cls(
            values=np.concatenate([part.values for part in parts]),
            coupling=np.concatenate([part.coupling for part in parts]),
        )

    def averages(self, layout: Layout) -> Signs:
        """Mean over each patient's records, shape (patients, 2)."""
        return Signs(
            values=np.add.reduceat(self.values, layout.first) / layout.count[:, None],
            coupling=np.add.reduceat(self.coupling, layout.first) / layout.count[:, None],
        )


class NormalScores:
    """A monotone function of the cohort's signals that makes them normal as a whole.

    Level and spread are read from these scores: a few enormous signals do not drown the others, and
    a monotone function of the signals changes neither.

    Parameters
    ----------
    layout : Layout
        The whole cohort; at most 262,144 evenly spaced signals are read.
    centring : Centring
    """

    def __init__(self, layout: Layout, centring: Centring) -> None:
        most = max(1, MOST_VALUES // layout.models)
        step = max(1, layout.patients // most)
        found = [
            centring.apply(part)[:: max(1, int(step))].ravel() for _, _, part in layout.parts()
        ]
        values = np.sort(np.concatenate(found).astype(np.float64))
        let_go(layout.signals)
        level = (np.arange(QUANTILES) + 0.5) / QUANTILES
        quantiles = np.quantile(values, level)
        # Equal signals get the mean of the scores that they would share.
        self._at, place = np.unique(quantiles, return_inverse=True)
        self._score = np.bincount(place, weights=ndtri(level)) / np.bincount(place)

    def of(self, signals: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores of signals of any shape, float64."""
        flat = np.interp(np.ravel(signals), self._at, self._score)
        return flat.reshape(signals.shape)


def study_auc(layout: Layout, signals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Binormal AUC of each record over all models, as the study has it, shape (records,).

    It supposes normal signals, which is why it is shown for comparison only.

    Parameters
    ----------
    layout : Layout
    signals : float array, shape (records, models)
    """
    moments = _Moments.of(layout, signals.astype(np.float64))
    total = moments.variance.sum(axis=0)
    difference = moments.mean[1] - moments.mean[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        d = np.where(
            total > 0,
            difference / np.sqrt(np.where(total > 0, total, 1.0)),
            np.where(difference == 0, 0.0, np.sign(difference) * np.inf),
        )
    return np.asarray(ndtr(d))


def signs_of(layout: Layout, scores: NDArray[np.float64], influence: NDArray[np.float64]) -> Signs:
    """Level and spread of each record's OUT signals; how their errors go with the counted AUC's.

    A record that is hard for models that never saw it is remembered by those that did. IN models
    are left out: what they say of the AUC is in the count already. The covariance of the errors is
    that of influence functions, summed over models: right to first order whatever the signals'
    distribution.

    Parameters
    ----------
    layout : Layout
    scores : float64 array, shape (records, models)
    influence : float64 array, shape (patients, models) or (records, models)
        Of each model on the AUC.
    """
    outside = ~layout.member[layout.patient]
    if layout.used is not None:
        outside &= layout.used[layout.patient]
    pull = influence if len(influence) == layout.records else influence[layout.patient]
    number = np.maximum(outside.sum(axis=1), 1)
    mean = np.einsum("nm,nm->n", scores, outside) / number
    deviation = (scores - mean[:, None]) * outside
    square = deviation * deviation
    spread = square.sum(axis=1)
    still = spread <= 1e-12 * number
    level = np.einsum("nm,nm->n", deviation, pull) / number
    width = np.einsum("nm,nm->n", square, pull) / np.where(still, 1.0, spread)
    # Scores that never vary say nothing of their spread.
    width[still] = 0.0
    return Signs(
        values=np.column_stack([mean, np.log(np.maximum(spread, 1e-12) / number)]),
        coupling=np.column_stack([level, width]),
    )


def whole_places(
    part: Layout, signals: NDArray[np.floating], patients: NDArray[np.int64]
) -> tuple[Deal, NDArray[np.float64]]:
    """All models of one-record patients in a single fold, and their signals in those places.

    Parameters
    ----------
    part : Layout
    signals : float array, shape (records, models)
    patients : int64 array, shape (n,)
        Patients with one record.
    """
    dealt = deal(
        part.member[patients],
        1,
        None if part.used is None else part.used[patients],
        number=part.number[patients],
    )
    flat = dealt.model.reshape(len(patients), -1)
    values = np.take_along_axis(signals[part.first[patients]], flat, axis=1)
    return dealt, values.reshape(dealt.model.shape).astype(np.float64)


def record_risk(layout: Layout, signals: NDArray[np.floating], normal: NormalScores) -> RecordRisk:
    """Count each record's own AUC over all models.

    Parameters
    ----------
    layout : Layout
    signals : float array, shape (records, models)
    normal : NormalScores
    """
    dealt = deal(layout.member, 1, layout.used, number=layout.number).take(layout.patient)
    values = np.take_along_axis(signals, dealt.model.reshape(layout.records, -1), axis=1)
    found = placements(values.reshape(dealt.model.shape).astype(np.float64), dealt.weight)
    return RecordRisk(
        counted=found.counted,
        signs=signs_of(layout, normal.of(signals), by_model(found, dealt, layout.models)),
    )


def by_model(found: Placements, dealt: Deal, models: int) -> NDArray[np.float64]:
    """Influence of each model, shape (n, models), from that of each place of the deal.

    Parameters
    ----------
    found : Placements
    dealt : Deal
    models : int
    """
    influence = np.zeros((len(dealt.model), models))
    row, fold, label, place = np.nonzero(dealt.weight)
    influence[row, dealt.model[row, fold, label, place]] = found.influence[row, fold, label, place]
    return influence


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Counts on one half of the models and signs from the other half, and the reverse.

    Attributes
    ----------
    counted : tuple of two Counted
    signs : tuple of two Signs
        Without coupling: the halves share no model.
    """

    counted: tuple[Counted, Counted]
    signs: tuple[Signs, Signs]

    @classmethod
    def of(cls, part: Layout, normal: NDArray[np.float64], scores: PatientScores) -> Self:
        """Both views of a part's patients; halves are of the folds that they were scored in.

        Parameters
        ----------
        part : Layout
        normal : float64 array, shape (records, models)
            Normal scores of the signals.
        scores : PatientScores
        """
        half = scores.values.shape[1] // 2
        sides = (slice(0, half), slice(half, None))
        counted, signs = [], []
        for mine, other in (sides, sides[::-1]):
            weight = scores.deal.weight[:, mine]
            counted.append(placements(scores.values[:, mine], weight).counted)
            used = np.zeros(part.member.shape, dtype=bool)
            row, fold, label, place = np.nonzero(scores.deal.weight[:, other])
            used[row, scores.deal.model[:, other][row, fold, label, place]] = True
            found = signs_of(replace(part, used=used), normal, np.zeros(used.shape))
            signs.append(found.averages(part))
        return cls(counted=(counted[0], counted[1]), signs=(signs[0], signs[1]))

    @classmethod
    def joined(cls, parts: Sequence[Views]) -> Self:
        """Views of several parts as one."""
        first, second = (Counted.joined([p.counted[side] for p in parts]) for side in (0, 1))
        one, other = (Signs.joined([p.signs[side] for p in parts]) for side in (0, 1))
        return cls(counted=(first, second), signs=(one, other))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moments:
    """Of the OUT models (0) and the IN models (1) of each record."""

    inside: tuple[NDArray[np.bool_], NDArray[np.bool_]]  # (records, models) each
    number: NDArray[np.float64]  # (2, records), at least 1
    mean: NDArray[np.float64]  # (2, records)
    variance: NDArray[np.float64]  # (2, records)

    @classmethod
    def of(cls, layout: Layout, x: NDArray[np.float64]) -> Self:
        member = layout.member[layout.patient]
        inside = (~member, member)
        if layout.used is not None:
            used = layout.used[layout.patient]
            inside = (inside[0] & used, inside[1] & used)
        count = np.stack([mask.sum(axis=1) for mask in inside])
        number = np.maximum(count, 1).astype(np.float64)
        mean = np.stack([np.einsum("nm,nm->n", x, mask) for mask in inside]) / number
        variance = np.empty_like(mean)
        for label, mask in enumerate(inside):
            deviation = x - mean[label][:, None]
            scatter = np.einsum("nm,nm,nm->n", deviation, deviation, mask)
            variance[label] = scatter / np.maximum(count[label] - 1, 1)
        return cls(inside=inside, number=number, mean=mean, variance=variance)

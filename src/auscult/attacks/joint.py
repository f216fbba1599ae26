"""The joint attack: all of a patient's records at once, as one score per model.

Membership is drawn per patient, so all records of a patient went into a model together, and the
best test weighs them together (METHOD 4). With class means ``m1`` and ``m0`` of the patient's k
signals and their pooled within-class covariance ``S``, Fisher's weights are ``S^-1 (m1 - m0)``;
with few models and many records they are noise, and equal weights on the raw signals do better. One
rule covers both: the ridge that pulls the weights towards equal ones,

    w = (A + h t I)^-1 (d + h t c 1),   h = strength / models,

where ``d = m1 - m0``, ``A`` is ``S`` with its off-diagonal shrunk by 0.3, ``t`` the mean variance
and ``c`` the scale at which equal weights are best for a patient of average effect. Strength 0
gives shrunken linear discriminant weights, infinity gives equal ones. It is chosen per band of
record count by an inner cross-validation that never sees the models on which the score is
evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.dealing import Deal
from auscult.attacks.layout import BYTES_AT_ONCE, Centring, Layout, take_patients
from auscult.base.parallel import in_order

DIAGONAL_SHRINKAGE = 0.3
STRENGTHS = (0.0, 3.0, 10.0, 30.0, 100.0, 1000.0, np.inf)
DEFAULT_STRENGTH = 30.0
FEWEST_EFFECT = 0.05
LARGEST_EFFECT = 30.0  # of a patient, in the average of a band: signals may hardly vary
TUNING_PATIENTS = 256
BANDS = ((1, 1), (2, 2), (3, 5), (6, 19), (20, None))


@dataclass(frozen=True, kw_only=True, eq=False)
class PatientScores:
    """Held-out scores of every patient under every model, higher for a member.

    Attributes
    ----------
    values : float64 array, shape (patients, folds, 2, places)
        In units of the standard deviation within folds and classes; laid out as `deal`. NaN for a
        patient who is not estimable.
    deal : Deal
    effect : float64 array, shape (patients, folds)
        Standardised difference of the score between IN and OUT on the *other* folds.
    unit : float64 array, shape (patients, folds)
        Factor from `values` to deviations of the score on the other folds.
    """

    values: NDArray[np.float64]
    deal: Deal
    effect: NDArray[np.float64]
    unit: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class JointAttack:
    """The attack after its strengths were chosen; scores any part of the layout.

    Attributes
    ----------
    strengths, effects : dict of str to list of float
        Per band of record count: strength of the pull and average effect, one per fold.
    """

    strengths: dict[str, list[float]]
    effects: dict[str, list[float]]

    def score(self, part: Layout, signals: NDArray[np.floating]) -> PatientScores:
        """Score every patient of a part under every model, from the other folds of models.

        Parameters
        ----------
        part : Layout
        signals : float array, shape (records, models)
            Usually centred, in the part's order of rows.
        """
        dealt = part.deal()
        values = np.full(dealt.model.shape, np.nan)
        effect, unit = (np.full(dealt.model.shape[:2], np.nan) for _ in range(2))
        estimable = part.estimable()
        for name, in_band in _bands(part):
            for patients in _batches(part, np.flatnonzero(estimable & in_band)):
                values[patients], effect[patients], unit[patients] = _held_out_scores(
                    part, signals, dealt, patients, self.strengths[name], self.effects[name]
                )
        return PatientScores(values=values, deal=dealt, effect=effect, unit=unit)

    def strengths_for_summary(self) -> dict[str, list[float | str]]:
        """Strengths as JSON: infinity, which means equal weights, is written "equal"."""
        return {
            band: ["equal" if np.isinf(s) else s for s in chosen]
            for band, chosen in self.strengths.items()
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Moments:
    """Per patient, fold and class: number of models, sum and second moment of the k signals."""

    number: NDArray[np.float64]  # (patients, folds, 2)
    total: NDArray[np.float64]  # (patients, folds, 2, k)
    square: NDArray[np.float64]  # (patients, folds, 2, k, k)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Training:
    """What the training folds say of each patient."""

    models: NDArray[np.float64]  # (patients,)
    middle: NDArray[np.float64]  # (patients, k)
    difference: NDArray[np.float64]  # (patients, k)
    shrunk: NDArray[np.float64]  # (patients, k, k)


def tuned(
    layout: Layout, centring: Centring | None, *, strengths: tuple[float, ...] = STRENGTHS
) -> JointAttack:
    """Choose the strengths on a sample of patients of each band.

    Parameters
    ----------
    layout : Layout
        The whole cohort.
    centring : Centring or None
        Applied to the sample's signals.
    strengths : tuple of float
        Candidates for how strongly weights are pulled towards equal ones, ascending; a single one
        is used as it is: ``(0,)`` for shrunken linear discriminant weights, ``(inf,)`` for equal.
    """
    estimable = layout.estimable()
    bands = {name: np.flatnonzero(estimable & in_band) for name, in_band in _bands(layout)}
    bands = {name: band for name, band in bands.items() if band.size}

    def choose(band: NDArray[np.int64]) -> tuple[list[float], list[float]]:
        part, _ = take_patients(layout, band[:: max(1, len(band) // TUNING_PATIENTS)])
        signals = part.signals if centring is None else centring.apply(part)
        return _choose_strengths(part, signals, strengths)

    found = dict(zip(bands, in_order(choose, bands.values()), strict=True))
    return JointAttack(
        strengths={name: one[0] for name, one in found.items()},
        effects={name: one[1] for name, one in found.items()},
    )


def joint_scores(
    layout: Layout,
    centring: Centring | None = None,
    *,
    strengths: tuple[float, ...] = STRENGTHS,
) -> PatientScores:
    """Tune and score a whole layout at once; see :func:`tuned` and :class:`JointAttack`.

    Parameters
    ----------
    layout : Layout
    centring : Centring, optional
        Made from the layout when None.
    strengths : tuple of float
        Strengths of shrinkage to choose from.
    """
    attack = tuned(layout, centring, strengths=strengths)
    return attack.score(layout, layout.signals if centring is None else centring.apply(layout))


def _bands(layout: Layout) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Bands of record count and which patients are in each."""
    for low, high in BANDS:
        inside = layout.count >= low
        if high is not None:
            inside &= layout.count <= high
        yield band_name(low, high), inside


def band_name(low: int, high: int | None) -> str:
    """Name of a band of record counts: "1", "3-5", "20+"."""
    if high is None:
        return f"{low}+"
    return str(low) if low == high else f"{low}-{high}"


def auc_in_folds(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mann-Whitney AUC inside each fold, averaged with weights n_in * n_out; ties count half.

    Pooling the scores of different folds instead would be biased: each fold's weights were fitted
    without it (METHOD 4).

    Parameters
    ----------
    values, weight : float64 array, shape (patients, folds, 2, places)

    Returns
    -------
    float64 array, shape (patients,)
    """
    result = np.empty(values.shape[0])
    rows = max(1, BYTES_AT_ONCE // (32 * max(1, values.shape[1] * values.shape[3] ** 2)))
    for start in range(0, values.shape[0], rows):
        v, w = values[start : start + rows], weight[start : start + rows]
        inside, outside = v[:, :, 1, :, None], v[:, :, 0, None, :]
        wins = 0.5 * ((inside > outside).astype(np.float64) + (inside >= outside))
        won = ((wins @ w[:, :, 0, :, None])[..., 0] * w[:, :, 1]).sum(axis=(1, 2))
        pairs = (w[:, :, 1].sum(axis=2) * w[:, :, 0].sum(axis=2)).sum(axis=1)
        with np.errstate(invalid="ignore"):  # a patient may have no pair in these folds
            result[start : start + rows] = won / pairs
    result[np.isnan(values).any(axis=(1, 2, 3))] = np.nan
    return result


def _batches(layout: Layout, patients: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Patients of equal record count, in pieces that fit the memory set aside."""
    batches = []
    for k in np.unique(layout.count[patients]):
        same = patients[layout.count[patients] == k]
        size = 8 * int(k) * max(layout.models * 3, 20 * int(k))
        step = max(1, BYTES_AT_ONCE // size)
        batches += [same[start : start + step] for start in range(0, len(same), step)]
    return batches


def _gather(
    layout: Layout, signals: NDArray[np.floating], dealt: Deal, patients: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signals as (patients, folds, 2, k, places) and weights as (patients, folds, 2, 1, places)."""
    k = int(layout.count[patients[0]])
    rows = layout.first[patients][:, None] + np.arange(k)
    part = dealt.take(patients)
    flat = part.model.reshape(len(patients), 1, -1)
    x = np.take_along_axis(signals[rows].astype(np.float64), flat, axis=2)
    x -= x.mean(axis=2, keepdims=True)
    shape = (len(patients), k, part.folds, 2, part.model.shape[3])
    return x.reshape(shape).transpose(0, 2, 3, 1, 4), part.weight[:, :, :, None, :]


def _moments(x: NDArray[np.float64], weight: NDArray[np.float64]) -> _Moments:
    weighted = x * weight
    return _Moments(
        number=weight.sum(axis=(3, 4)),
        total=weighted.sum(axis=4),
        square=weighted @ x.swapaxes(-1, -2),
    )


def _train(moments: _Moments, folds: list[int]) -> _Training:
    """Class means and covariance over some of the folds."""
    number = moments.number[:, folds].sum(axis=1)  # (patients, 2)
    mean = moments.total[:, folds].sum(axis=1) / number[:, :, None]
    scatter = moments.square[:, folds].sum(axis=1) - number[:, :, None, None] * (
        mean[:, :, :, None] * mean[:, :, None, :]
    )
    covariance = scatter.sum(axis=1) / (number.sum(axis=1) - 2)[:, None, None]
    k = covariance.shape[1]
    shrunk = (1 - DIAGONAL_SHRINKAGE) * covariance
    variance = np.einsum("pkk->pk", covariance)
    # A signal that never varies within a class carries no noise to weigh it by: keep it solvable,
    # and an effect a thousand deviations large at most.
    difference = mean[:, 1] - mean[:, 0]
    floor = np.maximum(1e-12 * variance.max(axis=1), 1e-6 * (difference**2).max(axis=1))
    floor = np.maximum(floor, 1e-30)
    shrunk[:, np.arange(k), np.arange(k)] = np.maximum(variance, floor[:, None])
    return _Training(
        models=number.sum(axis=1),
        middle=(mean[:, 1] + mean[:, 0]) / 2,
        difference=difference,
        shrunk=shrunk,
    )


def _equal_effect(training: _Training) -> NDArray[np.float64]:
    """Standardised difference of the plain sum of signals, shape (patients,)."""
    effect = training.difference.sum(axis=1) / _spread_of_sum(training)
    return np.asarray(np.clip(effect, -LARGEST_EFFECT, LARGEST_EFFECT))


def _spread_of_sum(training: _Training) -> NDArray[np.float64]:
    """Deviation of the plain sum of signals, shape (patients,).

    At least what the diagonal adds: where records cancel, rounding can leave less than nothing.
    """
    least = DIAGONAL_SHRINKAGE * np.einsum("pkk->p", training.shrunk)
    return np.asarray(np.sqrt(np.maximum(training.shrunk.sum(axis=(1, 2)), least)))


def _weights(
    training: _Training, strengths: Sequence[float], effect: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of the records under each strength, shape (strengths, patients, k).

    With one average effect, or one per patient.
    """
    k = training.difference.shape[1]
    found = np.ones((len(strengths), *training.difference.shape))
    pulled = np.flatnonzero(np.isfinite(strengths))
    if not pulled.size:
        return found
    variance = np.einsum("pkk->pk", training.shrunk).mean(axis=1)
    pull = np.array(strengths)[pulled, None] / training.models * variance
    scale = effect / _spread_of_sum(training)
    left = training.shrunk + pull[:, :, None, None] * np.eye(k)
    right = training.difference + (pull * scale)[:, :, None]
    found[pulled] = np.linalg.solve(left, right[..., None])[..., 0]
    return found


def _within(moments: _Moments) -> NDArray[np.float64]:
    """Covariance within folds and classes, over all folds, shape (patients, k, k).

    The unit of scores. A unit from the training folds alone would be small just where the held-out
    fold's spread is large, and bias the effect; this one is the same for every fold of a patient
    with one record, and exchanging IN and OUT inside a fold leaves it as it is, so a null stays a
    null.
    """
    number = np.maximum(moments.number, 1)
    mean = moments.total / number[..., None]
    scatter = moments.square - number[..., None, None] * (mean[..., :, None] * mean[..., None, :])
    free = np.maximum(moments.number - 1, 0).sum(axis=(1, 2))
    return np.asarray(scatter.sum(axis=(1, 2)) / np.maximum(free, 1)[:, None, None])


def _scores(
    training: _Training,
    weights: NDArray[np.float64],
    folds: Sequence[NDArray[np.float64]],
    within: NDArray[np.float64],
) -> list[NDArray[np.float64]]:
    """Scores of some folds' models, each of shape (patients, 2, places), in units of `within`."""
    unit = weights / _spread(weights, within)[:, None]
    offset = np.einsum("pk,pk->p", unit, training.middle)[:, None, None]
    return [np.einsum("pk,pckm->pcm", unit, x) - offset for x in folds]


def _spread(weights: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deviation of weighted signals, shape (patients,); 1 where they never vary."""
    variance = np.einsum("pk,pkl,pl->p", weights, covariance, weights)
    spread = np.sqrt(np.maximum(variance, 0.0))
    return np.where(spread > 0, spread, 1.0)


def _held_out_scores(
    layout: Layout,
    signals: NDArray[np.floating],
    dealt: Deal,
    patients: NDArray[np.int64],
    strengths: list[float],
    effect: list[float],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Scores of some patients, their effects and units on the other folds; see PatientScores."""
    x, weight = _gather(layout, signals, dealt, patients)
    moments = _moments(x, weight)
    within = _within(moments)
    scores = np.empty((len(patients), dealt.folds, 2, x.shape[4]))
    effects, units = (np.empty((len(patients), dealt.folds)) for _ in range(2))
    for fold in range(dealt.folds):
        training = _train(moments, [f for f in range(dealt.folds) if f != fold])
        (weights,) = _weights(training, strengths[fold : fold + 1], effect[fold])
        (scores[:, fold],) = _scores(training, weights, [x[:, fold]], within)
        spread = _spread(weights, training.shrunk)
        effects[:, fold] = np.einsum("pk,pk->p", weights, training.difference) / spread
        units[:, fold] = _spread(weights, within) / spread
    return scores, effects, units


def _choose_strengths(
    sample: Layout, signals: NDArray[np.floating], strengths: tuple[float, ...]
) -> tuple[list[float], list[float]]:
    """Strength and average effect of a band, one per fold, from the other folds' models only.

    For the evaluation fold f, every other fold g in turn is scored by weights from the folds that
    are neither f nor g; the strength with the highest mean AUC over a sample of the band's patients
    wins, or a stronger one that is worse by no more than a standard error of the difference.
    `sample` holds patients of the band.

    A single record leaves nothing to weigh, and learning the sign of its weight would only add
    noise: with weights of -1 in some folds the null interval of 32 models covered 89% [simulated].
    """
    dealt, folds = sample.deal(), sample.folds
    if len(strengths) > 1 and int(sample.count.max()) == 1:
        strengths = (np.inf,)
    gained = []
    effects = np.zeros(folds)
    for patients in _batches(sample, np.arange(sample.patients)):
        x, weight = _gather(sample, signals, dealt, patients)
        moments = _moments(x, weight)
        within = _within(moments)
        for fold in range(folds):
            training = _train(moments, [f for f in range(folds) if f != fold])
            effects[fold] += _equal_effect(training).sum()
        if folds < 3 or len(strengths) == 1:
            continue
        part = np.zeros((len(patients), folds, len(strengths)))
        for first in range(folds):
            for second in range(first + 1, folds):
                training = _train(moments, [f for f in range(folds) if f not in (first, second)])
                effect = max(float(_equal_effect(training).mean()), FEWEST_EFFECT)
                pair = [first, second]
                scores = np.stack(
                    [
                        np.stack(_scores(training, one, [x[:, f] for f in pair], within))
                        for one in _weights(training, strengths, effect)
                    ]
                )  # (strengths, folds, patients, 2, places)
                counts = np.broadcast_to(weight[:, pair][:, :, :, 0].swapaxes(0, 1), scores.shape)
                flat = (-1, 1, *scores.shape[3:])
                auc = auc_in_folds(scores.reshape(flat), counts.reshape(flat))
                # Without a pair in the fold no strength is better than another.
                auc = np.where(np.isnan(auc), 0.5, auc).reshape(scores.shape[:3]) / (folds - 1)
                for spared, one in ((second, auc[:, 0]), (first, auc[:, 1])):
                    part[:, spared] += one.T
        gained.append(part)
    effect_per_fold = [max(float(e) / sample.patients, FEWEST_EFFECT) for e in effects]
    if len(strengths) == 1:
        return [strengths[0]] * folds, effect_per_fold
    if folds < 3:
        return [DEFAULT_STRENGTH] * folds, effect_per_fold
    each = np.concatenate(gained)  # (patients, folds, strengths)
    best = each.mean(axis=0).argmax(axis=1)
    loss = np.take_along_axis(each, best[None, :, None], axis=2) - each
    error = loss.std(axis=0) / np.sqrt(len(each))
    good = loss.mean(axis=0) <= np.maximum(error, 1e-3)
    last = [int(np.flatnonzero(row)[-1]) for row in good]
    return [strengths[i] for i in last], effect_per_fold

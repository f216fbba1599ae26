"""The attack with few reference models: what n models like the target say of a patient.

Of each patient the mean of its centred signals is looked at. Under models that trained on the
patient and under models that did not it has two levels, normal over patients with a covariance that
the reference models show; the patient's own reference models, as many as fell on either side,
sharpen both levels; the target's signal is then compared with what either level predicts,

    score = log N(y | m1, V11 + s1) - log N(y | m0, V00 + s0).

No reference model leaves the signal itself: the population attack. Each target has an order of the
other models of its own, drawn from the audit's seed; its first n models are the references, those
of the patient's own fold left out, so that scores within a fold share no reference with each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from auscult.attacks.dealing import Deal
from auscult.attacks.joint import PatientScores
from auscult.attacks.layout import Layout
from auscult.base.parallel import in_order
from auscult.base.randomness import Stage, generator
from auscult.cohort.cohort import record_bands

FEWEST_OF_A_BAND = 50
CLOSEST = 0.98  # largest correlation of the two levels
SMALLEST = 1e-6  # probability of the truth: float32 knows no more
LEAST_SHARE = 0.02  # of a class's variance, for its level and for its noise


@dataclass(frozen=True, kw_only=True)
class _Levels:
    """How signals are spread over patients and models, as the reference models show it."""

    mean: tuple[float, float]  # OUT, IN
    level: tuple[float, float, float]  # variance of the OUT level, of the IN level, covariance
    noise: tuple[float, float]


def few_references(
    layout: Layout, signals: NDArray[np.floating], references: int, seed: int
) -> PatientScores:
    """Score every patient under every model with `references` models to compare with.

    Parameters
    ----------
    layout : Layout
        Of the whole cohort.
    signals : float array, shape (records, models)
        Centred, in the layout's order of rows.
    references : int
        0 for the population attack; at most half of the models.
    seed : int
        The audit's seed.
    """
    dealt = layout.deal()
    patients, models = layout.patients, layout.models
    y = _of_patients(layout, signals)
    if references:
        bands = record_bands(layout.count, FEWEST_OF_A_BAND)
        fold = _fold_of_model(dealt, models)

        def judge(target: int) -> NDArray[np.float64]:
            order, used = _chosen(fold, target, references, seed)
            score = np.empty(patients)
            for _, inside in bands:
                rows = np.flatnonzero(inside)
                if rows.size:
                    seen = order[: max(references, 1)]
                    levels = _levels(y[rows], layout.member[rows], target, seen)
                    taken = used[rows]
                    score[rows] = _score(
                        y[rows, target],
                        y[rows][:, order],
                        layout.member[rows][:, order],
                        taken,
                        levels,
                    )
            return score

        table = np.stack(list(in_order(judge, range(models))), axis=1)
    else:
        spread = y.std(axis=0)
        table = y / np.where(spread > 0, spread, 1.0)
    return _as_scores(layout, dealt, table)


def signal_itself(layout: Layout) -> PatientScores:
    """The mean signal of each patient under each model, in its own unit: no reference is needed.

    Parameters
    ----------
    layout : Layout
        Of the whole cohort; signals as they come.
    """
    return _as_scores(layout, layout.deal(), _of_patients(layout, layout.signals))


def ratio_to_references(layout: Layout, references: int, seed: int) -> PatientScores:
    """How much surer of the truth a model is than its references that did not train on the patient.

    The logarithm of the ratio of probabilities, as in RMIA offline (Zarifzadeh et al. 2024). It
    moves most where models are not sure, where a difference of log-odds counts as much everywhere.

    Parameters
    ----------
    layout : Layout
        Of the whole cohort; signals as they come, log-odds of the truth.
    references : int
        The same models as those of :func:`few_references`. Of a patient whom all of them trained
        on nothing is said: the mean over the model's other patients.
    seed : int
        The audit's seed.
    """
    dealt = layout.deal()
    sure = np.clip(expit(_of_patients(layout, layout.signals)), SMALLEST, 1 - SMALLEST)
    fold = _fold_of_model(dealt, layout.models)

    def judge(target: int) -> NDArray[np.float64]:
        order, used = _chosen(fold, target, references, seed)
        used &= ~layout.member[:, order]
        number = used.sum(axis=1)
        known = number > 0
        usual = (sure[:, order] * used).sum(axis=1)[known] / number[known]
        score = np.zeros(layout.patients)
        score[known] = np.log(sure[known, target] / usual)
        score[~known] = score[known].mean() if known.any() else 0.0
        return score

    table = np.stack(list(in_order(judge, range(layout.models))), axis=1)
    spread = float(table.std())
    return _as_scores(layout, dealt, table / (spread if spread > 0 else 1.0))


def _of_patients(layout: Layout, signals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over each patient's records, shape (patients, models)."""
    found = np.add.reduceat(signals, layout.first, axis=0) / layout.count[:, None]
    return np.asarray(found, dtype=np.float64)


def _chosen(
    fold: NDArray[np.int64], target: int, references: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The target's order of other models, and which of them are each patient's references."""
    order = generator(seed, Stage.REFERENCES, target).permutation(fold.shape[1])
    order = order[order != target]
    free = fold[:, order] != fold[:, [target]]
    return order, free & (np.cumsum(free, axis=1) <= references)


def _as_scores(layout: Layout, dealt: Deal, table: NDArray[np.float64]) -> PatientScores:
    """Scores of patients under models at their places in the deal."""
    values = np.take_along_axis(table, dealt.model.reshape(layout.patients, -1), axis=1)
    values = values.reshape(dealt.model.shape)
    values[~layout.estimable()] = np.nan
    ones = np.ones(dealt.model.shape[:2])
    return PatientScores(values=values, deal=dealt, effect=ones, unit=ones)


def _fold_of_model(dealt: Deal, models: int) -> NDArray[np.int64]:
    """Fold of every model, per patient, shape (patients, models)."""
    patients = len(dealt.model)
    fold = np.full((patients, models), -1, dtype=np.int64)
    row, number, _, _ = np.nonzero(dealt.weight)
    fold[row, dealt.model[dealt.weight > 0]] = number
    return fold


def _levels(
    y: NDArray[np.float64], member: NDArray[np.bool_], target: int, seen: NDArray[np.int64]
) -> _Levels:
    """Estimate the spread of signals from reference models and the unlabelled target."""
    x, inside = y[:, seen], member[:, seen]
    classes = [x[~inside], x[inside]]
    mean = [float(c.mean()) if c.size else 0.0 for c in classes]
    variance = [float(c.var()) if c.size > 1 else 1.0 for c in classes]
    variance = [max(v, 1e-12) for v in variance]
    residual = [np.where(~inside, x - mean[0], 0.0), np.where(inside, x - mean[1], 0.0)]
    if len(seen) > 1:

        def common(a: int, b: int) -> float:
            """Mean product over pairs of different models, one of class a and one of b."""
            masks = [(~inside).astype(float), inside.astype(float)]
            product = residual[a].sum(axis=1) * residual[b].sum(axis=1)
            pairs = masks[a].sum(axis=1) * masks[b].sum(axis=1)
            if a == b:
                product -= (residual[a] ** 2).sum(axis=1)
                pairs -= masks[a].sum(axis=1)
            return float(product.sum() / max(pairs.sum(), 1.0))

        level = [common(0, 0), common(1, 1), common(0, 1)]
    else:
        # One model: how the target follows it, whichever side the target is on.
        centred = y[:, target] - y[:, target].mean()
        follows = [
            float((r.sum(axis=1) * centred).sum() / max(int((r != 0).sum()), 1)) for r in residual
        ]
        level = [follows[0], follows[1], (follows[0] + follows[1]) / 2]
    own = [
        float(np.clip(level[c], LEAST_SHARE * variance[c], (1 - LEAST_SHARE) * variance[c]))
        for c in (0, 1)
    ]
    limit = CLOSEST * float(np.sqrt(own[0] * own[1]))
    return _Levels(
        mean=(mean[0], mean[1]),
        level=(own[0], own[1], float(np.clip(level[2], -limit, limit))),
        noise=(variance[0] - own[0], variance[1] - own[1]),
    )


def _score(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    inside: NDArray[np.bool_],
    used: NDArray[np.bool_],
    levels: _Levels,
) -> NDArray[np.float64]:
    """Log likelihood ratio of the target's signals, shape (patients,)."""
    v0, v1, c = levels.level
    s0, s1 = levels.noise
    b0, b1 = levels.mean
    n1, n0 = (used & inside).sum(axis=1), (used & ~inside).sum(axis=1)
    t1, t0 = (x * (used & inside)).sum(axis=1), (x * (used & ~inside)).sum(axis=1)
    # Precision of the two levels before and after the patient's own reference models.
    determinant = v0 * v1 - c * c
    p00, p11, p01 = v1 / determinant, v0 / determinant, -c / determinant
    q00, q11 = p00 + n0 / s0, p11 + n1 / s1
    r0 = p00 * b0 + p01 * b1 + t0 / s0
    r1 = p01 * b0 + p11 * b1 + t1 / s1
    after = q00 * q11 - p01 * p01
    w00, w11, w01 = q11 / after, q00 / after, -p01 / after
    m0, m1 = w00 * r0 + w01 * r1, w01 * r0 + w11 * r1
    e0, e1 = w00 + s0, w11 + s1
    return np.asarray(
        0.5 * ((y - m0) ** 2 / e0 - (y - m1) ** 2 / e1) + 0.5 * (np.log(e0) - np.log(e1))
    )

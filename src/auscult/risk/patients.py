"""The risk of each patient: scores, raw and shrunken AUC, and the study's figure beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from auscult.attacks.joint import JointAttack, auc_in_folds, joint_scores, tuned
from auscult.layout import Centring, Layout, take_patients
from auscult.parallel import in_order, let_go
from auscult.progress import SILENT, Progress
from auscult.risk.effect import Effect, effect_in_folds, effect_of_samples, joined
from auscult.risk.shrinkage import Covariates, Posterior, shrink

MOST_CLASSES = 5
PATIENT_FPR = (0.01, 0.1)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordRisk:
    """Each record on its own, over all models.

    Attributes
    ----------
    effect : Effect
        Shape (records,), rows in the layout's order.
    level, log_variance : float64 array, shape (records,)
        Mean of the IN and OUT means, and log of the within-class variance.
    """

    effect: Effect
    level: NDArray[np.float64]
    log_variance: NDArray[np.float64]

    @property
    def study_auc(self) -> NDArray[np.float64]:
        """Binormal AUC per record, as the study has it, shape (records,)."""
        return np.asarray(ndtr(self.effect.d))


@dataclass(frozen=True, kw_only=True, eq=False)
class PatientRisk:
    """Each patient under the joint attack.

    Attributes
    ----------
    attack : JointAttack
    centring : Centring
    auc_raw : float64 array, shape (patients,)
        Cross-fitted, unshrunk; NaN where not estimable.
    tpr_raw : dict of float to float64 array, shape (patients,)
        TPR counted on held-out models at each false positive rate; NaN where a patient is OUT of
        too few models to count it.
    effect : Effect
        Shape (patients,).
    covariates : Covariates
        Shape (patients, covariates).
    posterior : Posterior
        Shrunken AUC with interval and tail probabilities.
    study_max_auc : float64 array, shape (patients,)
        The study's figure: largest record AUC. For comparison only: it grows with the number of
        records even when nothing leaks.
    """

    attack: JointAttack
    centring: Centring
    auc_raw: NDArray[np.float64]
    tpr_raw: dict[float, NDArray[np.float64]]
    effect: Effect
    covariates: Covariates
    posterior: Posterior
    study_max_auc: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """What is kept of a part of the patients."""

    auc_raw: NDArray[np.float64]
    tpr_raw: NDArray[np.float64]  # (rates, patients)
    effect: Effect
    study_max_auc: NDArray[np.float64]
    on_centred: RecordRisk


def record_risk(layout: Layout, signals: NDArray[np.floating]) -> RecordRisk:
    """Effect of every record over all models, from signals of shape (records, models)."""
    x = signals.astype(np.float64)
    inside = layout.member[layout.patient]
    outside = ~inside
    if layout.used is not None:
        inside, outside = (mask & layout.used[layout.patient] for mask in (inside, outside))
    mean, variance, number = [], [], []
    for mask in (inside, outside):
        count = mask.sum(axis=1)
        total = np.maximum(count, 1)
        m = np.einsum("nm,nm->n", x, mask) / total
        number.append(count.astype(np.float64))
        mean.append(m)
        deviation = x - m[:, None]
        scatter = np.einsum("nm,nm,nm->n", deviation, deviation, mask)
        variance.append(scatter / np.maximum(count - 1, 1))
    effect = effect_of_samples(
        difference=mean[0] - mean[1],
        variance_in=variance[0],
        variance_out=variance[1],
        models_in=np.maximum(number[0], 1),
        models_out=np.maximum(number[1], 1),
    )
    return RecordRisk(
        effect=effect,
        level=(mean[0] + mean[1]) / 2,
        log_variance=np.log(np.maximum(variance[0] + variance[1], 1e-12)),
    )


def patient_risk(
    layout: Layout,
    thresholds: tuple[float, ...],
    progress: Progress = SILENT,
    *,
    centring: Centring | None = None,
) -> tuple[PatientRisk, RecordRisk]:
    """Run the joint attack and shrink its results.

    Parameters
    ----------
    layout : Layout
    thresholds : tuple of float
        AUCs for which each patient's tail probability is wanted.
    progress : Progress
        Advanced by one per patient.
    centring : Centring, optional
        Made from the layout when absent.
    """
    centring = centring or Centring(layout)
    attack = tuned(layout, centring)

    def assess(place: tuple[slice, slice, Layout]) -> _Part:
        part = place[2]
        signals = centring.apply(part)
        scores = attack.score(part, signals)
        # The study's figures are of the signals as they come, not centred.
        study = record_risk(part, part.signals).study_auc
        largest = np.maximum.reduceat(np.where(np.isnan(study), -np.inf, study), part.first)
        values, weight = scores.values, scores.deal.weight
        found = _Part(
            auc_raw=auc_in_folds(values, weight),
            tpr_raw=np.stack([tpr_of_patients(values, weight, rate) for rate in PATIENT_FPR]),
            effect=effect_in_folds(values, weight),
            study_max_auc=np.where(np.isinf(largest), np.nan, largest),
            on_centred=record_risk(part, signals),
        )
        let_go(layout.signals)
        return found

    parts = []
    for part in in_order(assess, layout.parts()):
        parts.append(part)
        progress.advance(part.auc_raw.size)
    records = joined_records([part.on_centred for part in parts])
    effect = joined([part.effect for part in parts])
    tpr = np.concatenate([part.tpr_raw for part in parts], axis=1)
    covariates = covariates_of(layout, records, effect)
    risk = PatientRisk(
        attack=attack,
        centring=centring,
        auc_raw=np.concatenate([part.auc_raw for part in parts]),
        tpr_raw=dict(zip(PATIENT_FPR, tpr, strict=True)),
        effect=effect,
        covariates=covariates,
        posterior=shrink(effect, covariates, thresholds),
        study_max_auc=np.concatenate([part.study_max_auc for part in parts]),
    )
    return risk, records


def tpr_of_patients(
    values: NDArray[np.float64], weight: NDArray[np.float64], fpr: float
) -> NDArray[np.float64]:
    """Share of each patient's IN models above all but `fpr` of its OUT models.

    Parameters
    ----------
    values, weight : float64 array, shape (patients, folds, 2, places)
    fpr : float

    Returns
    -------
    float64 array, shape (patients,)
        NaN where a patient is OUT of fewer than 2 / `fpr` models.
    """
    n = len(values)
    outside, inside = (weight[:, :, label].reshape(n, -1) > 0 for label in (0, 1))
    number = outside.sum(axis=1)
    if not (number >= 2 / fpr).any():
        return np.full(n, np.nan)
    out_scores = np.where(outside, values[:, :, 0].reshape(n, -1), -np.inf)
    ordered = -np.sort(-out_scores, axis=1)
    allowed = np.floor(fpr * number).astype(np.int64)
    bar = np.take_along_axis(ordered, allowed[:, None], axis=1)
    above = (values[:, :, 1].reshape(n, -1) > bar) & inside
    tpr = above.sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    return np.where(number >= 2 / fpr, tpr, np.nan)


def joined_records(parts: list[RecordRisk]) -> RecordRisk:
    """Risks of consecutive parts as one."""
    return RecordRisk(
        effect=joined([part.effect for part in parts]),
        level=np.concatenate([part.level for part in parts]),
        log_variance=np.concatenate([part.log_variance for part in parts]),
    )


def covariates_of(layout: Layout, records: RecordRisk, effect: Effect) -> Covariates:
    """What predicts a patient's effect: level and spread of the signals, record count, classes.

    The error of a log variance is ``-2 b d`` coupled with the error of an effect that is divided by
    the same deviation; with k independent records only a k-th of it.
    """

    def average(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(values, layout.first) / layout.count)

    classes, sizes = np.unique(layout.stratum, return_counts=True)
    largest = classes[np.argsort(-sizes, kind="stable")][1:MOST_CLASSES]
    shares = [average((layout.stratum == c).astype(np.float64)) for c in largest]
    values = [average(records.level), average(records.log_variance), np.log(layout.count), *shares]
    coupling = np.zeros((layout.patients, len(values)))
    coupling[:, 1] = -2 * effect.b * effect.middle / layout.count
    return Covariates(values=np.column_stack(values), coupling=coupling)


def permuted(layout: Layout, rng: np.random.Generator) -> Layout:
    """Replace each patient's membership by a permutation of it over the models: nothing leaks."""
    if layout.used is None:
        return replace(layout, member=rng.permuted(layout.member, axis=1))
    # Models in use and the others are shuffled apart: as many of them stay IN.
    keys = rng.random(layout.member.shape) + ~layout.used
    places = np.argsort(~layout.used, axis=1, kind="stable")
    member = np.empty_like(layout.member)
    shuffled = np.take_along_axis(layout.member, np.argsort(keys, axis=1), axis=1)
    np.put_along_axis(member, places, shuffled, axis=1)
    return replace(layout, member=member)


def null_mean(
    layout: Layout,
    centring: Centring,
    patients: NDArray[np.int64],
    replicates: int,
    rng: np.random.Generator,
) -> float:
    """Mean AUC of some patients when their membership is permuted, over several permutations.

    Few patients have a noisy mean even where nothing leaks; permuting again is cheap for them.

    Parameters
    ----------
    layout : Layout
    centring : Centring
    patients : int64 array
    replicates : int
    rng : Generator
    """
    part, _ = take_patients(layout, np.tile(patients, replicates))
    scores = joint_scores(permuted(part, rng), centring)
    return float(np.nanmean(auc_in_folds(scores.values, scores.deal.weight)))

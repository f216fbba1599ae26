"""The risk of each patient: scores, raw and shrunken AUC, and the study's figure beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from auscult.attacks.joint import PatientScores, auc_in_folds, joint_scores
from auscult.layout import BYTES_AT_ONCE, Layout, centred, take_patients
from auscult.progress import SILENT, Progress
from auscult.risk.effect import Effect, effect_in_folds, effect_of_samples
from auscult.risk.shrinkage import Covariates, Posterior, shrink

MOST_CLASSES = 5


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
    scores : PatientScores
    auc_raw : float64 array, shape (patients,)
        Cross-fitted, unshrunk; NaN where not estimable.
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

    scores: PatientScores
    auc_raw: NDArray[np.float64]
    effect: Effect
    covariates: Covariates
    posterior: Posterior
    study_max_auc: NDArray[np.float64]


def record_risk(layout: Layout, signals: NDArray[np.floating]) -> RecordRisk:
    """Effect of every record over all models, from signals of shape (records, models)."""
    n = layout.records
    effect = Effect(d=np.empty(n), a=np.empty(n), b=np.empty(n))
    level, log_variance = np.empty(n), np.empty(n)
    step = max(1, BYTES_AT_ONCE // (48 * layout.models))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        x = signals[rows].astype(np.float64)
        inside = layout.member[layout.patient[rows]]
        mean, variance, number = [], [], []
        for mask in (inside, ~inside):
            count = mask.sum(axis=1)
            total = np.maximum(count, 1)
            m = (x * mask).sum(axis=1) / total
            number.append(count.astype(np.float64))
            mean.append(m)
            scatter = (((x - m[:, None]) ** 2) * mask).sum(axis=1)
            variance.append(scatter / np.maximum(count - 1, 1))
        part = effect_of_samples(
            difference=mean[0] - mean[1],
            variance_in=variance[0],
            variance_out=variance[1],
            models_in=np.maximum(number[0], 1),
            models_out=np.maximum(number[1], 1),
        )
        effect.d[rows], effect.a[rows], effect.b[rows] = part.d, part.a, part.b
        level[rows] = (mean[0] + mean[1]) / 2
        log_variance[rows] = np.log(np.maximum(variance[0] + variance[1], 1e-12))
    effect.d[~layout.estimable()[layout.patient]] = np.nan
    return RecordRisk(effect=effect, level=level, log_variance=log_variance)


def patient_risk(
    layout: Layout, thresholds: tuple[float, ...], progress: Progress = SILENT
) -> tuple[PatientRisk, RecordRisk]:
    """Run the joint attack and shrink its results.

    Parameters
    ----------
    layout : Layout
    thresholds : tuple of float
        AUCs for which each patient's tail probability is wanted.
    progress : Progress
        Advanced by one per patient.
    """
    signals = centred(layout)
    scores = joint_scores(layout, signals, progress)
    # The study's figures are of the signals as they come, not centred.
    plain = record_risk(layout, layout.signals)
    on_centred = record_risk(layout, signals)
    effect = effect_in_folds(scores.values, scores.deal.weight)
    covariates = covariates_of(layout, on_centred, effect)
    study = np.where(np.isnan(plain.study_auc), -np.inf, plain.study_auc)
    largest = np.maximum.reduceat(study, layout.first)
    risk = PatientRisk(
        scores=scores,
        auc_raw=auc_in_folds(scores.values, scores.deal.weight),
        effect=effect,
        covariates=covariates,
        posterior=shrink(effect, covariates, thresholds),
        study_max_auc=np.where(np.isinf(largest), np.nan, largest),
    )
    return risk, on_centred


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
    return replace(layout, member=rng.permuted(layout.member, axis=1))


def null_mean(
    layout: Layout,
    signals: NDArray[np.floating],
    patients: NDArray[np.int64],
    replicates: int,
    rng: np.random.Generator,
) -> float:
    """Mean AUC of some patients when their membership is permuted, over several permutations.

    Few patients have a noisy mean even where nothing leaks; permuting again is cheap for them.

    Parameters
    ----------
    layout : Layout
    signals : float array, shape (records, models)
        Centred, in the layout's order of rows.
    patients : int64 array
    replicates : int
    rng : Generator
    """
    part, rows = take_patients(layout, np.tile(patients, replicates))
    scores = joint_scores(permuted(part, rng), signals[rows])
    return float(np.nanmean(auc_in_folds(scores.values, scores.deal.weight)))

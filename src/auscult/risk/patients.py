"""The risk of each patient: scores, raw and shrunken AUC, and the study's figure beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from auscult.attacks.joint import JointAttack, auc_in_folds, joint_scores, tuned
from auscult.layout import Centring, Layout, take_patients
from auscult.parallel import in_order, let_go, scratch
from auscult.progress import SILENT, Progress
from auscult.risk.effect import Effect, effect_in_folds, effect_of_samples
from auscult.risk.shrinkage import Above, Covariates, Posterior, shrink
from auscult.risk.tpr import tpr_of_patients

MOST_CLASSES = 5
PATIENT_FPR = (0.01, 0.1)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordRisk:
    """Each record on its own, over all models.

    Attributes
    ----------
    effect : Effect
        Shape (records,), rows in the layout's order.
    covariates : float64 array, shape (records, 2)
        Mean of the IN and OUT means, and log of the within-class variance.
    """

    effect: Effect
    covariates: NDArray[np.float64]

    @classmethod
    def empty(cls, n: int) -> Self:
        """Room for `n` records, to be put in part by part."""
        room = scratch((5, n), np.float64)
        return cls(effect=Effect(d=room[0], a=room[1], b=room[2]), covariates=room[3:].T)

    def put(self, rows: slice, part: RecordRisk) -> None:
        """Put risks in their place."""
        self.effect.put(rows, part.effect)
        self.covariates[rows] = part.covariates
        let_go(self.covariates)

    def averages(self, layout: Layout) -> NDArray[np.float64]:
        """Mean of the covariates over each patient's records, shape (patients, 2)."""
        return np.asarray(np.add.reduceat(self.covariates, layout.first) / layout.count[:, None])

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
        TPR at each false positive rate, by :func:`auscult.risk.tpr.tpr_of_patients`; NaN where a
        patient is OUT of too few models to count it.
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
class Null:
    """The same pipeline where nothing leaks: what is shown beside the figures of the patients.

    Attributes
    ----------
    auc_raw, study_max_auc : float64 array, shape (patients,)
    above : dict of float to Above
        Of each threshold.
    """

    auc_raw: NDArray[np.float64]
    study_max_auc: NDArray[np.float64]
    above: dict[float, Above]


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
        covariates=np.column_stack(
            [
                (mean[0] + mean[1]) / 2,
                np.log(np.maximum(variance[0] + variance[1], 1e-12)),
            ]
        ),
    )


def patient_risk(
    layout: Layout,
    thresholds: tuple[float, ...],
    progress: Progress = SILENT,
    *,
    counted: tuple[float, ...] = (),
    by_record: bool = False,
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
    counted : tuple of float
        AUCs for which only the number of patients above is wanted.
    by_record : bool
        Whether each record's own risk is kept; no record is returned otherwise.
    centring : Centring, optional
        Made from the layout when absent.
    """
    centring = centring or Centring(layout)
    attack = tuned(layout, centring)

    n = layout.patients
    raw, largest, tpr = np.empty(n), np.empty(n), np.empty((len(PATIENT_FPR), n))
    effect = Effect.empty(n)
    average = np.empty((n, 2))
    records = RecordRisk.empty(layout.records if by_record else 0)

    def assess(place: tuple[slice, slice, Layout]) -> int:
        here, rows, part = place
        signals = centring.apply(part)
        scores = attack.score(part, signals)
        # The study's figures are of the signals as they come, not centred.
        study = record_risk(part, part.signals).study_auc
        most = np.maximum.reduceat(np.where(np.isnan(study), -np.inf, study), part.first)
        largest[here] = np.where(np.isinf(most), np.nan, most)
        values, weight = scores.values, scores.deal.weight
        raw[here] = auc_in_folds(values, weight)
        tpr[:, here] = tpr_of_patients(part, signals, PATIENT_FPR)
        effect.put(here, effect_in_folds(values, weight))
        alone = record_risk(part, signals)
        average[here] = alone.averages(part)
        if by_record:
            records.put(rows, alone)
        let_go(layout.signals)
        let_go(layout.member)
        return part.patients

    for number in in_order(assess, layout.parts()):
        progress.advance(number)
    covariates = covariates_of(layout, average, effect)
    risk = PatientRisk(
        attack=attack,
        centring=centring,
        auc_raw=raw,
        tpr_raw=dict(zip(PATIENT_FPR, tpr, strict=True)),
        effect=effect,
        covariates=covariates,
        posterior=shrink(effect, covariates, thresholds, counted=counted),
        study_max_auc=largest,
    )
    return risk, records


def covariates_of(layout: Layout, average: NDArray[np.float64], effect: Effect) -> Covariates:
    """What predicts a patient's effect: level and spread of the signals, record count, classes.

    The error of a log variance is ``-2 b d`` coupled with the error of an effect that is divided by
    the same deviation; with k independent records only a k-th of it.

    Parameters
    ----------
    layout : Layout
    average : float64 array, shape (patients, 2)
        See :meth:`RecordRisk.averages`.
    effect : Effect
        Shape (patients,).
    """
    classes, sizes = np.unique(layout.stratum, return_counts=True)
    largest = classes[np.argsort(-sizes, kind="stable")][1:MOST_CLASSES]
    values = np.empty((layout.patients, 3 + largest.size))
    values[:, :2] = average
    values[:, 2] = np.log(layout.count)
    for place, one in enumerate(largest):
        here = (layout.stratum == one).astype(np.float64)
        values[:, 3 + place] = np.add.reduceat(here, layout.first) / layout.count
    return Covariates(
        values=values, coupled=1, coupling=-2 * effect.b * effect.middle / layout.count
    )


def null_risk(
    layout: Layout,
    counted: tuple[float, ...],
    rng: np.random.Generator,
    progress: Progress = SILENT,
) -> Null:
    """Run the joint attack with each patient's membership permuted over the models."""
    risk, _ = patient_risk(permuted(layout, rng), (), progress, counted=counted)
    return Null(auc_raw=risk.auc_raw, study_max_auc=risk.study_max_auc, above=risk.posterior.above)


def permuted(layout: Layout, rng: np.random.Generator) -> Layout:
    """Replace each patient's membership by a permutation of it over the models: nothing leaks."""
    if layout.used is None:
        member = scratch(layout.member.shape, bool)
        for here, _, part in layout.parts():
            member[here] = rng.permuted(part.member, axis=1)
            let_go(member)
            let_go(layout.member)
        return replace(layout, member=member)
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

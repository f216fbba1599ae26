"""The risk of each patient: scores, raw and shrunken AUC, and the study's figure beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.joint import JointAttack, PatientScores, auc_in_folds, joint_scores, tuned
from auscult.attacks.layout import Centring, Layout, take_patients
from auscult.base.parallel import in_order, let_go, scratch
from auscult.base.progress import SILENT, Progress
from auscult.risk.counting import Counted, placements
from auscult.risk.estimate import Estimate, NoiseLaw
from auscult.risk.prior import Shape
from auscult.risk.shrinkage import Above, Covariates, Posterior, shrink, worth_of_signs
from auscult.risk.signs import (
    NormalScores,
    RecordRisk,
    Signs,
    Views,
    by_model,
    record_risk,
    signs_of,
    study_auc,
    whole_places,
)
from auscult.risk.tails import chance_near
from auscult.risk.tpr import tpr_of_patients

NULL_TOLERANCE = 0.02  # of the mean AUC under shuffled membership, from one half
MOST_CLASSES = 5
MOST_FOR_VIEWS = 4000
PATIENT_FPR = (0.01, 0.1)


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
    estimate : Estimate
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
    estimate: Estimate
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


def patient_risk(
    layout: Layout,
    thresholds: tuple[float, ...],
    progress: Progress = SILENT,
    *,
    numbered: tuple[float, ...] = (),
    rates: tuple[float, ...] = (),
    by_record: bool = False,
    confirming: bool = True,
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
    numbered : tuple of float
        AUCs for which only the number of patients above is wanted.
    rates : tuple of float
        False positive rates at which each patient's TPR is wanted.
    by_record : bool
        Whether each record's own risk is kept; no record is returned otherwise.
    confirming : bool
        Whether patients are to be confirmed or tested one by one.
    centring : Centring, optional
        Made from the layout when absent.
    """
    centring = centring or Centring(layout)
    attack = tuned(layout, centring)

    n = layout.patients
    normal = NormalScores(layout, centring)
    largest, tpr = np.empty(n), np.empty((len(rates), n))
    counted = Counted.empty(n)
    signs = Signs(values=np.empty((n, 2)), coupling=np.empty((n, 2)))
    records = RecordRisk.empty(layout.records if by_record else 0)

    chosen = chosen_for_views(layout)

    def assess(place: tuple[slice, slice, Layout]) -> tuple[int, Views]:
        here, rows, part = place
        signals = centring.apply(part)
        scores = attack.score(part, signals)
        # The study's figures are of the signals as they come, not centred.
        study = study_auc(part, part.signals)
        most = np.maximum.reduceat(np.where(np.isnan(study), -np.inf, study), part.first)
        largest[here] = np.where(np.isinf(most), np.nan, most)
        number, influence = count_patients(part, signals, scores)
        counted.put(here, number)
        if rates:
            tpr[:, here] = tpr_of_patients(part, signals, rates)
        normal_scores = normal.of(signals)
        average = signs_of(part, normal_scores, influence).averages(part)
        signs.values[here], signs.coupling[here] = average.values, average.coupling
        if by_record:
            records.put(rows, record_risk(part, signals, normal))
        let_go(layout.signals)
        let_go(layout.member)
        return part.patients, views_of(part, normal_scores, scores, chosen[here])

    views = []
    for view in in_order(assess, layout.parts()):
        views.append(view[1])
        progress.advance(view[0])
    estimate = Estimate.of(counted)
    if confirming:
        estimate = replace(estimate, chance=chance_near(layout, attack, centring, counted.auc))
    covariates = covariates_of(layout, signs)
    shapes = worth(layout, chosen, Views.joined(views), estimate.law)
    risk = PatientRisk(
        attack=attack,
        centring=centring,
        auc_raw=counted.auc,
        tpr_raw=dict(zip(rates, tpr, strict=True)),
        estimate=estimate,
        covariates=covariates,
        posterior=shrink(estimate, covariates, thresholds, shapes=shapes, counted=numbered),
        study_max_auc=largest,
    )
    return risk, records


def count_patients(
    part: Layout, signals: NDArray[np.floating], scores: PatientScores, *, whole: bool = True
) -> tuple[Counted, NDArray[np.float64]]:
    """Each patient's counted AUC, and the influence of every model on it.

    Scores are compared inside folds, because each fold's weights were fitted without it. A patient
    with one record needs no weights: its signal is its score, and all models are compared.

    Parameters
    ----------
    part : Layout
    signals : float array, shape (records, models)
        As they were scored.
    scores : PatientScores
    whole : bool
        Whether the scores of one-record patients are their signals; not where they compare a model
        with a few others only.

    Returns
    -------
    counted : Counted
        Shape (patients,).
    influence : float64 array, shape (patients, models)
    """
    found = placements(scores.values, scores.deal.weight)
    influence = by_model(found, scores.deal, part.models)
    single = np.flatnonzero((part.count == 1) & np.isfinite(found.counted.auc))
    if whole and single.size:
        dealt, values = whole_places(part, signals, single)
        alone = placements(values, dealt.weight)
        found.counted.put(single, alone.counted)
        influence[single] = by_model(alone, dealt, part.models)
    return found.counted, influence


def chosen_for_views(layout: Layout) -> NDArray[np.bool_]:
    """At most 4,000 patients, evenly spaced, by whom the signs are judged, shape (patients,)."""
    chosen = np.zeros(layout.patients, dtype=bool)
    able = np.flatnonzero(layout.estimable())
    if able.size > MOST_FOR_VIEWS:
        able = able[np.linspace(0, able.size - 1, MOST_FOR_VIEWS).astype(np.int64)]
    chosen[able] = True
    return chosen


def views_of(
    part: Layout,
    normal: NDArray[np.float64],
    scores: PatientScores,
    chosen: NDArray[np.bool_],
) -> Views:
    """Views of the chosen patients of a part.

    Parameters
    ----------
    part : Layout
    normal : float64 array, shape (records, models)
        Normal scores of the part's signals.
    scores : PatientScores
        Of the part.
    chosen : bool array, shape (patients,)
        Which patients of the part.
    """
    mine = np.flatnonzero(chosen)
    some, rows = take_patients(part, mine)
    kept = replace(
        scores,
        values=scores.values[mine],
        deal=scores.deal.take(mine),
        effect=scores.effect[mine],
        unit=scores.unit[mine],
    )
    return Views.of(some, normal[rows], kept)


def worth(
    layout: Layout, chosen: NDArray[np.bool_], views: Views, law: NoiseLaw
) -> dict[Shape, float]:
    """How much the signs of the chosen patients say of their AUCs.

    Parameters
    ----------
    layout : Layout
    chosen : bool array, shape (patients,)
    views : Views
        Of the chosen patients.
    law : NoiseLaw
    """
    some, _ = take_patients(layout, np.flatnonzero(chosen))
    return worth_of_signs(
        [
            (Estimate.of(counted, law), covariates_of(some, signs))
            for counted, signs in zip(views.counted, views.signs, strict=True)
        ]
    )


def covariates_of(layout: Layout, signs: Signs) -> Covariates:
    """What predicts a patient's AUC: level and spread of the signals, record count, classes.

    Parameters
    ----------
    layout : Layout
    signs : Signs
        Averages over each patient's records.
    """
    classes, sizes = np.unique(layout.stratum, return_counts=True)
    largest = classes[np.argsort(-sizes, kind="stable")][1:MOST_CLASSES]
    own = signs.values.shape[1]
    values = np.zeros((layout.patients, own + 1 + largest.size))
    values[:, :own] = signs.values
    values[:, own] = np.log(layout.count)
    for place, one in enumerate(largest):
        here = (layout.stratum == one).astype(np.float64)
        values[:, own + 1 + place] = np.add.reduceat(here, layout.first) / layout.count
    coupling = np.zeros_like(values)
    coupling[:, :own] = signs.coupling
    return Covariates(values=values, coupling=coupling)


def null_risk(
    layout: Layout,
    numbered: tuple[float, ...],
    rng: np.random.Generator,
    progress: Progress = SILENT,
    *,
    centring: Centring | None = None,
) -> Null:
    """Run the joint attack with each patient's membership permuted over the models.

    Parameters
    ----------
    layout : Layout
    numbered : tuple of float
        Thresholds at which the patients above are numbered.
    rng : numpy.random.Generator
        It permutes the membership.
    progress : Progress
    centring : Centring, optional
        Of the layout: no patient's own membership decides what is taken from its signals.
    """
    risk, _ = patient_risk(
        permuted(layout, rng),
        (),
        progress,
        numbered=numbered,
        confirming=False,
        centring=centring or Centring(layout),
    )
    return Null(auc_raw=risk.auc_raw, study_max_auc=risk.study_max_auc, above=risk.posterior.above)


def permuted(layout: Layout, rng: np.random.Generator) -> Layout:
    """Replace each patient's membership by a permutation of it over the models: nothing leaks.

    Membership that was drawn in waves is permuted within each of them, as it was drawn. Of a last
    wave that is shorter not all patients are IN as many models, and how many tells what the signals
    of that wave are like: its membership comes from another patient. Had it stayed, patients who
    are OUT of one of its models would keep that model's low signal in the wave where they are most
    often called OUT, and the mean AUC would be 0.505 where nothing is to be found [simulated: 64
    models at a share of 0.95, AUC 0.94].
    """
    wave = layout.wave or layout.models
    whole = layout.models - layout.models % wave
    donor = _donors(layout.member[:, whole:], rng)
    if layout.used is None:
        member = scratch(layout.member.shape, bool)
        for here, _, part in layout.parts():
            waves = part.member[:, :whole].reshape(-1, wave)
            member[here, :whole] = rng.permuted(waves, axis=1).reshape(-1, whole)
            if whole < layout.models:
                member[here, whole:] = rng.permuted(layout.member[donor[here], whole:], axis=1)
            let_go(member)
            let_go(layout.member)
        return replace(layout, member=member)
    # Models in use and the others are shuffled apart: as many of them stay IN.
    apart = (~layout.used).astype(np.float64)
    if layout.wave is not None:
        apart += 2 * (np.arange(layout.models) // layout.wave)
    keys = rng.random(layout.member.shape) + apart
    places = np.argsort(apart, axis=1, kind="stable")
    member = layout.member.copy()
    member[:, whole:] = layout.member[donor, whole:]
    shuffled = np.take_along_axis(member, np.argsort(keys, axis=1), axis=1)
    np.put_along_axis(member, places, shuffled, axis=1)
    return replace(layout, member=member)


def _donors(last: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Whose membership of the last wave each patient gets: another's where counts differ.

    Parameters
    ----------
    last : bool array, shape (patients, models of the last wave)
    rng : numpy.random.Generator
    """
    count = last.sum(axis=1)
    donor = np.arange(len(last))
    if (count != count[:1]).any():
        order = rng.permutation(len(last))
        donor[order] = np.roll(order, 1)
    return donor


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

"""One cell: what an attacker with this access, knowledge and means finds out, and what chance does.

The joint attack of the audit itself, on the signals that the cell lets through; its scores are
calibrated to log likelihood ratios on one half of the models and used on the other half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from auscult.attacks.alike import place_among_alike
from auscult.attacks.dealing import Deal
from auscult.attacks.joint import JointAttack, PatientScores, tuned
from auscult.attacks.layout import Centring, Layout
from auscult.attacks.roc import exact_auc
from auscult.base.parallel import in_order
from auscult.base.randomness import Stage, generator
from auscult.base.ranks import ranks
from auscult.cohort.cohort import record_bands
from auscult.exposure.calibration import GROUPS, Calibration, calibrate, terms_of
from auscult.exposure.deployment import ALL
from auscult.exposure.references import few_references, ratio_to_references, signal_itself
from auscult.risk.counting import Counted, placements
from auscult.risk.estimate import Estimate
from auscult.risk.exposed import exposed
from auscult.risk.patients import (
    PatientRisk,
    chosen_for_views,
    count_patients,
    covariates_of,
    permuted,
    views_of,
    worth,
)
from auscult.risk.prior import PLAIN
from auscult.risk.reliability import calibration_error
from auscult.risk.shrinkage import shrink
from auscult.risk.signs import NormalScores, Signs, Views, signs_of

EXPOSED = (0.7, 0.9)
FEWEST_OF_A_BAND = 50
MOST_POINTS = 200_000


@dataclass(frozen=True, kw_only=True)
class How:
    """How a cell is attacked.

    Attributes
    ----------
    references : int or "all"
    signed : bool
        Whether membership may lower a signal (as on other records of a patient, whose truth may be
        another): the score is then the calibrated ratio, which learns the sign from other models.
    seed : int
        The audit's seed.
    inputs : bool
        Whether the attacker knows what the models read of the records, not a distorted version.
    """

    references: int | str
    signed: bool
    seed: int
    inputs: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Log likelihood ratios of membership, each from models other than its own.

    Attributes
    ----------
    order, ratios : float array, shape (1 + groups, points)
        What orders points, and the log likelihood ratio that is claimed for each patient and model:
        learned from everybody but the patient's own group, and without each group of patients.
    member : bool array, shape (points,)
    patient : int64 array, shape (points,)
    group : int64 array, shape (points,)
        Group of the patient.
    half : int64 array, shape (points,)
        Half of the models that the point's model belongs to.
    """

    order: NDArray[np.floating]
    ratios: NDArray[np.floating]
    member: NDArray[np.bool_]
    patient: NDArray[np.int64]
    group: NDArray[np.int64]
    half: NDArray[np.int64]

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Ratios learned from everybody."""
        return np.asarray(self.ratios[0], dtype=np.float64)

    def calibration(self) -> dict[str, float | int]:
        """Expected calibration error and Brier score of the posterior.

        At the share of members among the points as the prior: one half by default.
        """
        share = float(self.member.mean())
        prior = 0.0 if share in (0.0, 0.5, 1.0) else float(logit(share))
        error, brier = calibration_error(expit(self.ratio + prior), self.member)
        return {"error": error, "brier": brier, "n": int(self.member.size)}

    def auc(self) -> float:
        """Over all people and models at once: one threshold for everybody."""
        return exact_auc(self.order[0][self.member], self.order[0][~self.member])


@dataclass(frozen=True, kw_only=True, eq=False)
class Attacked:
    """A cell after the attack.

    Attributes
    ----------
    risk : PatientRisk
    evidence : Evidence
    """

    risk: PatientRisk
    evidence: Evidence


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scored:
    """Scores of all patients and what they were made with."""

    joint: JointAttack
    centring: Centring
    scores: PatientScores
    counted: Counted  # (patients,)
    signs: Signs  # (patients, 2)
    views: Views  # of the chosen patients
    chosen: NDArray[np.bool_]  # (patients,)


def attack(layout: Layout, how: How, centring: Centring | None = None) -> Attacked:
    """Run the attack of a cell, calibrate it and assess each patient.

    Parameters
    ----------
    layout : Layout
        Signals as the cell lets them through.
    how : How
    centring : Centring, optional
        Learned from the layout when None.
    """
    scored = _scored(layout, how, centring)
    others = _cheaper(layout, scored.centring, how)
    evidence = evidence_of(layout, scored.scores, how.seed, others)
    risk = _risk(layout, scored, evidence if how.signed else None)
    return Attacked(risk=risk, evidence=evidence)


def _cheaper(layout: Layout, centring: Centring, how: How) -> tuple[tuple[PatientScores, ...], ...]:
    """Other scores that who has few reference models can have: without any of them, and with.

    Each of the field's cheap attacks is strongest somewhere: the signal itself, the signal among
    records that are alike, its ratio to that of the references.
    """
    if isinstance(how.references, str):
        return ()
    seed = how.seed
    alone = [signal_itself(layout)]
    if how.references:
        alone.append(few_references(layout, centring.apply(layout), 0, seed))
    beside = [ratio_to_references(layout, how.references, seed)] if how.references else []
    if how.inputs and layout.places is not None:
        alike = place_among_alike(layout, layout.places)
        alone.append(few_references(layout, alike, 0, seed))
        if how.references:
            beside.append(few_references(layout, alike, how.references, seed))
    return (tuple(alone), tuple(beside)) if beside else (tuple(alone),)


def null_of(layout: Layout, how: How, centring: Centring | None = None) -> PatientRisk:
    """The same with each patient's membership permuted over the models.

    Parameters
    ----------
    layout : Layout
    how : How
    centring : Centring, optional
        Of the cell, which is the same whoever is a member.
    """
    again = permuted(layout, generator(how.seed, Stage.NULL))
    scored = _scored(again, how, centring)
    evidence = None
    if how.signed:
        others = _cheaper(again, scored.centring, how)
        evidence = evidence_of(again, scored.scores, how.seed, others)
    return _risk(again, scored, evidence)


def _scored(layout: Layout, how: How, centring: Centring | None = None) -> _Scored:
    everything = how.references == ALL
    # What is learned of all shadow models is not known to who has few references.
    centring = centring or Centring(layout, learned=everything)
    joint = tuned(layout, centring) if everything else JointAttack(strengths={}, effects={})
    few = None
    if not isinstance(how.references, str):
        few = few_references(layout, centring.apply(layout), how.references, how.seed)

    normal = NormalScores(layout, centring)

    chosen = chosen_for_views(layout)

    def score(place: tuple[slice, slice, Layout]) -> tuple[PatientScores, Counted, Signs, Views]:
        here, _, part = place
        signals = centring.apply(part)
        scores = joint.score(part, signals) if few is None else _taken(few, here)
        counted, influence = count_patients(part, signals, scores, whole=few is None)
        normal_scores = normal.of(signals)
        signs = signs_of(part, normal_scores, influence).averages(part)
        return scores, counted, signs, views_of(part, normal_scores, scores, chosen[here])

    found = list(in_order(score, layout.parts()))
    return _Scored(
        joint=joint,
        centring=centring,
        scores=joined_scores([one[0] for one in found]),
        counted=Counted.joined([one[1] for one in found]),
        signs=Signs.joined([one[2] for one in found]),
        views=Views.joined([one[3] for one in found]),
        chosen=chosen,
    )


def _risk(layout: Layout, scored: _Scored, evidence: Evidence | None) -> PatientRisk:
    """Each patient's AUC, from scores or, where given, from calibrated ratios."""
    counted = scored.counted
    if evidence is not None:
        values = scored.scores.values.copy()
        values[_points(scored.scores)] = evidence.order[0]
        counted = placements(values, scored.scores.deal.weight).counted
    estimate = Estimate.of(counted)
    covariates = covariates_of(layout, scored.signs)
    # Couplings and views are of the scores; what they say of the ratios' counts is not known.
    shapes = {PLAIN: 1.0}
    if evidence is None:
        shapes = worth(layout, scored.chosen, scored.views, estimate.law)
    return PatientRisk(
        attack=scored.joint,
        centring=scored.centring,
        auc_raw=counted.auc,
        tpr_raw={},
        estimate=estimate,
        covariates=covariates,
        posterior=shrink(estimate, covariates, EXPOSED, shapes=shapes),
        study_max_auc=counted.auc,
    )


def _points(scores: PatientScores) -> NDArray[np.bool_]:
    """Which places of the scores are points of the evidence."""
    return (scores.deal.weight > 0) & np.isfinite(scores.values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Scores of patients under models, one by one, with what calibrates them.

    Attributes
    ----------
    terms : float64 array, shape (points, terms)
    member : bool array, shape (points,)
    patient, model, half, band : int64 array, shape (points,)
        The point's patient, its model, the half of the models that this is in, and the patient's
        band of record counts.
    """

    terms: NDArray[np.float64]
    member: NDArray[np.bool_]
    patient: NDArray[np.int64]
    model: NDArray[np.int64]
    half: NDArray[np.int64]
    band: NDArray[np.int64]

    def splits(
        self, most: int = MOST_POINTS
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Points to learn from and points to judge, which are of the other half of the models.

        Parameters
        ----------
        most : int
            At most so many points are learned from, evenly spaced.
        """
        for number in np.unique(self.band):
            in_band = self.band == number
            for side in (0, 1):
                learned = np.flatnonzero(in_band & (self.half != side))
                learned = learned[:: max(1, -(-learned.size // most))]
                if self.member[learned].all() or not self.member[learned].any():
                    continue  # nothing to learn from: no evidence either way
                yield learned, np.flatnonzero(in_band & (self.half == side))


def _in_deviations(scores: PatientScores) -> NDArray[np.float64]:
    """The score of each point."""
    return np.asarray((scores.values * scores.unit[:, :, None, None])[_points(scores)])


def points_of(layout: Layout, scores: PatientScores, seed: int) -> Points:
    """Scores as points; a model's half is drawn from the audit's seed.

    Parameters
    ----------
    layout : Layout
    scores : PatientScores
    seed : int
        The audit's seed.
    """
    used = _points(scores)
    patient, fold, label, _ = np.nonzero(used)
    score = _in_deviations(scores)
    model = scores.deal.model[used]
    band = np.zeros(layout.patients, dtype=np.int64)
    for number, (_, inside) in enumerate(record_bands(layout.count, FEWEST_OF_A_BAND)):
        band[inside] = number
    return Points(
        terms=terms_of(score, scores.effect[patient, fold]),
        member=label == 1,
        patient=patient.astype(np.int64),
        model=model,
        half=halves(layout.models, seed)[model],
        band=band[patient],
    )


def evidence_of(
    layout: Layout,
    scores: PatientScores,
    seed: int,
    others: tuple[tuple[PatientScores, ...], ...] = (),
) -> Evidence:
    """Calibrate scores to log likelihood ratios, on one half of the models for the other.

    Parameters
    ----------
    layout : Layout
    scores : PatientScores
    seed : int
    others : tuple of tuple of PatientScores
        Scores of cheaper attacks of the same patients and models, in sets. The first so many sets
        are weighed in that order those patients best who had no part in learning the weights;
        learned and judged on the one half of the models.
    """
    points = points_of(layout, scores, seed)
    group = layout.number[points.patient] % GROUPS
    own = _normal_scores(_in_deviations(scores))
    more = [[_normal_scores(_in_deviations(one)) for one in part] for part in others]
    order = np.zeros((1 + GROUPS, points.member.size), dtype=np.float32)
    ratios = np.zeros_like(order)
    for learned, judged in points.splits():
        member, mine = points.member[learned], group[learned]
        terms = wider = points.terms
        calibration, best = _calibrated(terms[learned], member, mine)
        for part in more:
            wider = np.column_stack([wider, *(x for s in part for x in (s, s**2, s * own))])
            other, auc = _calibrated(wider[learned], member, mine)
            if auc > best:
                terms, calibration, best = wider, other, auc
        order[:, judged] = calibration.order(terms[judged])
        order[0, judged] = calibration.of_others(terms[judged], group[judged])
        ratios[:, judged] = calibration.claimed(np.asarray(order[:, judged]))
    return Evidence(
        order=order,
        ratios=ratios,
        member=points.member,
        patient=points.patient,
        group=group.astype(np.int64),
        half=points.half,
    )


def _normal_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks as normal scores: a few values far out would squash all others in the regression."""
    return np.asarray(ndtri((ranks(values) - 0.5) / values.size), dtype=np.float64)


def _calibrated(
    terms: NDArray[np.float64], member: NDArray[np.bool_], group: NDArray[np.int64]
) -> tuple[Calibration, float]:
    """A calibration, and how well it orders patients who are left out (AUC)."""
    calibration = calibrate(terms, member, group)
    left_out = calibration.of_others(terms, group)
    return calibration, exact_auc(left_out[member], left_out[~member])


def halves(models: int, seed: int) -> NDArray[np.int64]:
    """Half of each model, 0 or 1, drawn from the audit's seed."""
    place = np.empty(models, dtype=np.int64)
    place[generator(seed, Stage.EXPOSURE).permutation(models)] = np.arange(models) % 2
    return place


def exposed_patients(
    risk: PatientRisk, null: PatientRisk, seed: int
) -> dict[str, dict[str, float]]:
    """Patients above each AUC, with interval and null.

    Parameters
    ----------
    risk, null : PatientRisk
        Of the cell, and of the same with permuted membership.
    seed : int
        The audit's seed.
    """
    rng = generator(seed, Stage.BOOTSTRAP_PATIENTS)
    return {
        str(one.threshold): {
            "estimate": one.estimate,
            "low": one.low,
            "high": one.high,
            "null": null.posterior.above[one.threshold].mean,
        }
        for one in exposed(risk, EXPOSED, rng)
    }


def _taken(scores: PatientScores, here: slice) -> PatientScores:
    return replace(
        scores,
        values=scores.values[here],
        deal=scores.deal.take(here),
        effect=scores.effect[here],
        unit=scores.unit[here],
    )


def joined_scores(parts: list[PatientScores]) -> PatientScores:
    """Scores of consecutive parts as one; parts may have different numbers of places."""
    places = max(part.values.shape[3] for part in parts)

    def whole(arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        wide = [np.pad(a, [(0, 0)] * 3 + [(0, places - a.shape[3])]) for a in arrays]
        return np.concatenate(wide)

    return PatientScores(
        values=whole([part.values for part in parts]),
        deal=Deal(
            model=np.concatenate(
                [
                    np.pad(p.deal.model, [(0, 0)] * 3 + [(0, places - p.values.shape[3])])
                    for p in parts
                ]
            ),
            weight=whole([part.deal.weight for part in parts]),
        ),
        effect=np.concatenate([part.effect for part in parts]),
        unit=np.concatenate([part.unit for part in parts]),
    )

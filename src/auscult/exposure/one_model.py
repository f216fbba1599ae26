"""What one model gives away: members found with one threshold for everybody.

A patient's AUC says how well membership can be told over many models. Whoever holds one model has
one answer per person and draws one line for all of them. Here every model in turn is that model:
the joint attack's held-out scores are put on one scale, which is learned on the other half of the
models, and the line is drawn where a given share of the model's non-members lies above it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.joint import JointAttack, PatientScores
from auscult.attacks.layout import Centring, Layout, take_patients
from auscult.attacks.roc import AggregateRoc, aggregate_roc
from auscult.base.parallel import in_order, let_go
from auscult.base.randomness import Stage, generator
from auscult.exposure.calibration import GROUPS, calibrate
from auscult.exposure.cell import Points, joined_scores, points_of
from auscult.exposure.last_step import improved, levels_of
from auscult.risk.stability import FEW_FOR_HALVES, HALVED_AUC, Halves, not_halved

ONE_MODEL_FPR = (0.01, 0.001)
MOST_POINTS = 1_000_000  # patients times models: beyond, an even sample of the patients
MOST_LEARNED = 50_000
STREAM = "one model"  # of the bootstraps, beside those that attacks on records have by name

METHOD = (
    "Each model in turn is attacked. Joint attack: a patient's weights are learned on models of "
    "other folds, the scale that makes patients comparable on the other half of the models, with "
    "what boosted trees add to it on other patients where it surely helps. One "
    "threshold for all patients of a model, chosen so that the given share of its non-members "
    "lies above it. Mean over models; 95% interval by bootstrap over models and groups of "
    "patients."
)
EXPOSED_METHOD = (
    "Exposed: each member counts with the posterior probability of an AUC above "
    f"{HALVED_AUC} that the half of the models without the attacked one gives."
)


def one_model(
    layout: Layout,
    attack: JointAttack,
    centring: Centring,
    halves: Halves | None,
    *,
    seed: int,
    smallest_cell: int,
) -> dict[str, Any]:
    """The "one_model" object of the summary.

    Parameters
    ----------
    layout : Layout
        Of the whole cohort; somebody must be estimable.
    attack : JointAttack
        Tuned on it.
    centring : Centring
        Of it.
    halves : Halves or None
        Each patient's risk on two halves of the models; None where there are too few.
    seed : int
        The audit's seed.
    smallest_cell : int
        Of fewer exposed members nothing is said.
    """
    every = max(1, -(-layout.patients * layout.models // MOST_POINTS))
    chosen = np.flatnonzero(layout.number % every == 0)
    part = layout if every == 1 else take_patients(layout, chosen)[0]
    scores = comparable_scores(part, attack, centring, seed)
    people = _people(part, scores)
    found = aggregate_roc(
        people, lambda m: people.signals[:, m], generator(seed, Stage.BOOTSTRAP_MODELS, STREAM)
    )
    outside = np.isfinite(scores) & ~part.member
    inside = np.isfinite(scores) & part.member
    exposed, reason, number = None, not_halved(layout) or FEW_FOR_HALVES, None
    if halves is not None:
        # Of the two halves the one that the attacked model is not in.
        above = np.where(
            halves.first[chosen], halves.above[1][chosen, None], halves.above[0][chosen, None]
        )
        above = np.where(inside & np.isfinite(above), above, 0.0)
        number = float(above.sum() / found.targets)
        reason = (
            f"according to the other models, fewer than {smallest_cell} of a model's members are "
            f"above {HALVED_AUC}"
        )
        if number >= smallest_cell:
            exposed = aggregate_roc(
                people,
                lambda m: people.signals[:, m],
                generator(seed, Stage.BOOTSTRAP_MODELS, STREAM, "exposed"),
                weight=lambda m: np.asarray(above[:, m]),
            )
            reason = ""
    method = METHOD + (f" Patients: one of every {every}, evenly." if every > 1 else "")
    members, others = (round(float(one.sum(axis=0).mean())) for one in (inside, outside))
    return {
        "patients": int(np.isfinite(scores).any(axis=1).sum()),
        "targets": found.targets,
        "members_per_model": members,
        "others_per_model": others,
        "exposed_per_model": number if number is not None and number >= smallest_cell else None,
        "at_fpr": {str(fpr): _at(found, exposed, fpr, others, reason) for fpr in ONE_MODEL_FPR},
        "auc": {"estimate": found.auc, "low": found.low, "high": found.high},
        "method": f"{method} {EXPOSED_METHOD}",
    }


def comparable_scores(
    layout: Layout, attack: JointAttack, centring: Centring, seed: int
) -> NDArray[np.float32]:
    """Scores of all patients under all models on one scale, higher for a member.

    The scale is learned on one half of the models and used on the other; so is what is learned
    besides, see :mod:`auscult.exposure.last_step`.

    Parameters
    ----------
    layout : Layout
    attack : JointAttack
        Tuned on the whole cohort.
    centring : Centring
    seed : int
        The audit's seed.

    Returns
    -------
    float32 array, shape (patients, models)
        NaN for patients who are not estimable.
    """

    def score(place: tuple[slice, slice, Layout]) -> PatientScores:
        found = attack.score(place[2], centring.apply(place[2]))
        let_go(layout.signals)
        let_go(layout.member)
        return found

    scores = joined_scores(list(in_order(score, layout.parts())))
    points = points_of(layout, scores, seed)
    orders = orders_of(points, layout.number[points.patient] % GROUPS)
    result = np.full((layout.patients, layout.models), np.nan, dtype=np.float32)
    levels = levels_of(layout, centring)
    found = improved(layout, points, orders, levels, seed)
    result[points.patient, points.model] = found
    return result


def orders_of(points: Points, group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Calibrated scores of all points, by what is learned for the judgement of each half of models.

    Learned without the patient's own group; see :meth:`Calibration.of_others`.

    Parameters
    ----------
    points : Points
    group : int64 array, shape (points,)
        Group of the point's patient, below 20.

    Returns
    -------
    float64 array, shape (2, points)
        NaN where nothing could be learned.
    """
    orders = np.full((2, points.member.size), np.nan)
    for learned, judged in points.splits(MOST_LEARNED):
        calibration = calibrate(points.terms[learned], points.member[learned], group[learned])
        side = points.half[judged[0]] if judged.size else 0
        alike = np.flatnonzero(points.band == points.band[learned[0]])
        orders[side, alike] = calibration.of_others(points.terms[alike], group[alike])
    return orders


def _people(layout: Layout, scores: NDArray[np.float32]) -> Layout:
    """Patients instead of records: one score each under every model."""
    rows = np.arange(layout.patients)
    return replace(
        layout,
        signals=scores,
        order=rows,
        patient=rows,
        first=rows,
        count=np.ones_like(rows),
        stratum=np.zeros_like(rows),
    )


def _at(
    found: AggregateRoc, exposed: AggregateRoc | None, fpr: float, others: int, reason: str
) -> dict[str, Any]:
    members = found.tpr_at(fpr)
    if members is None:
        because = f"a model has {others} non-members: {100 * fpr:g}% of them is fewer than one"
        return {"members": None, "exposed": None, "reason": because}
    theirs = None if exposed is None else exposed.tpr_at(fpr)
    row: dict[str, Any] = {"members": _figure(members), "exposed": None}
    return row | ({"reason": reason} if theirs is None else {"exposed": _figure(theirs)})


def _figure(rate: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("estimate", "low", "high"), rate, strict=True))

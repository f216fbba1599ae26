"""One set of outputs under the joint attack: what the frontier needs of each variant.

The aggregate attacks are left out: they are of all records at once, and a protection is judged by
the patients it leaves exposed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.access import Access, access_signals, answers_seen, served
from auscult.attacks.layout import Centring, Layout, lay_out
from auscult.attacks.log_odds import signals_from_outputs
from auscult.attacks.places import Places
from auscult.base.progress import SILENT, Progress
from auscult.base.randomness import Stage, generator
from auscult.cohort.design import HALF, Membership
from auscult.recipes.metrics import Metric
from auscult.risk.exposed import (
    SMOOTHING_ERROR,
    Exposed,
    exposed_by,
    few_models,
    learned_again,
    widened,
)
from auscult.risk.patients import PatientRisk, patient_risk, permuted
from auscult.risk.utility import UtilityPerModel, utility_per_model
from auscult.store import Outputs

THRESHOLDS = (0.8, 0.9, 0.95)


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """Whose outputs they are.

    Attributes
    ----------
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    groups : DataFrame, shape (patients, attributes)
    label_group : str, optional
        Column of `groups` that is the label: within a class of it there is no utility.
    labels : array, shape (records,) or (records, labels)
    stratum : int64 array, shape (records,)
        Class of each record, for centring.
    seed, smallest_cell : int
    queries : tuple of int, optional
        Which answers are those to the records themselves; all when absent.
    withheld : bool array, shape (records,), optional
        Records that no model trains on: the patient is attacked with the others.
    asked : tuple of str
        Queries that the audit's own models answered besides; variants that train are not asked.
    priors : tuple of float
        Of membership, that the deployment declares; empty without one.
    metric : Metric, optional
        How utility is measured where the outputs are ready signals.
    places : Places, optional
        Where the records lie among each other.
    share : float
        Of the patients that each model trains on.
    share_of_training : float, optional
        By which a training counts its steps, where that is another one.
    """

    membership: Membership
    patient_of_record: NDArray[np.int64]
    groups: pd.DataFrame
    labels: NDArray[Any]
    stratum: NDArray[np.int64]
    seed: int
    smallest_cell: int
    queries: tuple[int, ...] | None = None
    withheld: NDArray[np.bool_] | None = None
    asked: tuple[str, ...] = ()
    priors: tuple[float, ...] = ()
    label_group: str | None = None
    metric: Metric | None = None
    places: Places | None = None
    share: float = HALF
    share_of_training: float | None = None

    @property
    def steps(self) -> float:
        """Share of the records by which a training counts its steps."""
        return self.share if self.share_of_training is None else self.share_of_training

    def plain(self, outputs: Outputs) -> tuple[int, ...]:
        """Places of the answers to the records themselves."""
        return tuple(range(outputs.queries)) if self.queries is None else self.queries

    def lay_out(self, signals: NDArray[np.floating]) -> Layout:
        """Signals of all records, shape (models, records), as the attack wants them."""
        patient, stratum = self.patient_of_record, self.stratum
        if self.withheld is None:
            return lay_out(signals, self.membership.reveal(), patient, stratum, self.places)
        kept = np.flatnonzero(~self.withheld)
        found = lay_out(signals[:, kept], self.membership.reveal(), patient[kept], stratum[kept])
        return replace(found, order=kept[found.order], places=self.places)


@dataclass(frozen=True, kw_only=True, eq=False)
class Assessment:
    """The patients' risk and the models' utility.

    Attributes
    ----------
    layout : Layout
    risk : PatientRisk
    null : dict of float to float
        Expected number of patients above each threshold when membership is permuted.
    null_mean : float
    exposed : dict of float to Exposed
        Patients above each threshold, as the headline counts them.
    errors : float64 array, shape (replicates + 1, thresholds)
        How far off the share above each threshold is when the prior is learned again; the mean of
        squares over rows is the variance. The last row is what smoothing costs. Rows of two
        assessments of as many patients belong together.
    few : str
        Why the patients above a threshold can only be bounded; empty where models are enough.
    """

    layout: Layout
    risk: PatientRisk
    null: dict[float, float]
    null_mean: float
    exposed: dict[float, Exposed]
    errors: NDArray[np.float64]
    few: str


def assess(
    signals: NDArray[np.floating],
    subject: Subject,
    *,
    nearby: NDArray[np.float32] | None = None,
    progress: Progress = SILENT,
) -> Assessment:
    """Attack the patients and shrink the results.

    Parameters
    ----------
    signals : float array, shape (models, records)
    subject : Subject
    nearby : float32 array, shape (records, models), optional
        What records nearby say of these signals, where a finished run tells.
    progress : Progress
        Advanced by two per patient.
    """
    layout = subject.lay_out(signals)
    centring = None if nearby is None else Centring(layout, nearby=nearby)
    return assess_layout(layout, subject.seed, centring=centring, progress=progress)


def assess_layout(
    layout: Layout, seed: int, *, centring: Centring | None = None, progress: Progress = SILENT
) -> Assessment:
    """The same from signals that are laid out; see :func:`assess`.

    Parameters
    ----------
    layout : Layout
    seed : int
        The audit's seed.
    centring : Centring, optional
        Of the layout; made from it when absent.
    progress : Progress
    """
    risk, _ = patient_risk(layout, THRESHOLDS, progress, centring=centring)
    shuffled = permuted(layout, generator(seed, Stage.NULL))
    null, _ = patient_risk(shuffled, THRESHOLDS, progress, confirming=False, centring=risk.centring)
    usable = null.estimate.usable
    # The headline's own draws: the unprotected count is the headline's, to the patient.
    learned = learned_again(risk, THRESHOLDS, generator(seed, Stage.BOOTSTRAP_PATIENTS))
    scale = widened(risk) * SMOOTHING_ERROR
    rows = learned.errors.shape[0]
    errors = np.vstack([learned.errors, learned.smoothing * np.sqrt(rows)])
    return Assessment(
        layout=layout,
        risk=risk,
        null={t: null.posterior.above[t].mean for t in THRESHOLDS},
        null_mean=float(null.auc_raw[usable].mean()),
        exposed={one.threshold: one for one in exposed_by(risk, THRESHOLDS, learned)},
        errors=scale * errors * np.sqrt((rows + 1) / rows),
        few=few_models(risk, layout.models),
    )


def signals_of(
    outputs: Outputs, subject: Subject, access: Access | None
) -> tuple[Outputs, NDArray[np.float32]]:
    """Outputs as they are handed out, and the attacker's signals from them.

    Parameters
    ----------
    outputs : Outputs
    subject : Subject
    access : Access or None
        None for the outputs as the models return them.
    """
    if access is None:
        return outputs, signals_from_outputs(outputs, subject.labels, subject.queries)
    return (
        served(outputs, access, subject.plain(outputs)),
        access_signals(outputs, subject.labels, access, answers_to(outputs, subject, access)),
    )


def answers_to(outputs: Outputs, subject: Subject, access: Access) -> tuple[int, ...]:
    """Places of the answers that an attacker through an access uses.

    Augmented views count where the models answered them, which those of a variant did not.

    Parameters
    ----------
    outputs : Outputs
    subject : Subject
    access : Access
    """
    plain = subject.plain(outputs)
    return answers_seen(access, plain, subject.asked if outputs.queries > len(plain) else ())


def utility_of(outputs: Outputs, subject: Subject) -> UtilityPerModel | None:
    """Utility of each model, or None where ready signals come without a metric."""
    if outputs.kind == "signal" and subject.metric is None:
        return None
    return utility_per_model(
        outputs,
        subject.labels,
        subject.membership,
        subject.patient_of_record,
        subject.groups.drop(columns=[] if subject.label_group is None else [subject.label_group]),
        smallest_cell=subject.smallest_cell,
        queries=subject.queries,
        withheld=subject.withheld,
        metric=subject.metric if outputs.kind == "signal" else None,
    )

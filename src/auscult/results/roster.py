"""Whom the stored outputs are about: records, patients, groups, labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.places import Places
from auscult.cohort import PatientIds, Task
from auscult.cohort.inputs import Inputs
from auscult.recipes.metrics import Metric
from auscult.risk.outcome import NO_CLASSES, NO_LABELS, Attributes, with_label


@dataclass(frozen=True, kw_only=True, eq=False)
class Roster:
    """Whom the stored outputs are about.

    Attributes
    ----------
    title : str
        Of the report.
    cohort : dict
        The "cohort" object of the summary.
    recipe : dict or None
        The "recipe" object of the summary without facts and notes; None for imported scores.
    patient_of_record : int64 array, shape (records,)
    patient_ids : PatientIds
    record_rows : int64 array, shape (records,)
    groups : DataFrame, shape (patients, attributes)
    labels : int64 array, shape (records,) or (records, labels), optional
        Classes: where the outcome is none, what records are compared within.
    task : str, optional
        As :attr:`auscult.Cohort.task`.
    classes : tuple of str
        Names of the classes, or of the labels.
    label_name : str
        The label's own name, empty where unknown.
    truth : array, optional
        Labels as the models were given them, where they are no classes.
    metric : Metric, optional
        How utility is measured where the outputs are ready signals.
    places : Places, optional
        Where the records lie among each other; None where their inputs are not at hand.
    inputs : Inputs, optional
        What the records hold.
    """

    title: str
    cohort: dict[str, Any]
    recipe: dict[str, Any] | None
    patient_of_record: NDArray[np.int64]
    patient_ids: PatientIds
    record_rows: NDArray[np.int64]
    groups: pd.DataFrame
    labels: NDArray[np.int64] | None = None
    task: Task | None = None
    planted: Planted | None = None
    classes: tuple[str, ...] = ()
    label_name: str = ""
    truth: NDArray[Any] | None = None
    metric: Metric | None = None
    places: Places | None = None
    inputs: Inputs | None = None

    def attributes(self, *, label_group: bool) -> Attributes:
        """Declared groups, and the label where it is to be compared."""
        return with_label(
            self.groups,
            self.labels,
            self.classes,
            self.patient_of_record,
            name=self.label_name,
            wanted=label_group,
            absent=NO_CLASSES.get(self.task or "", NO_LABELS),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """Patients of a simulated cohort that the model must memorise: truth to compare findings with.

    Attributes
    ----------
    patients : bool array, shape (patients,)
    what : str
        What they are, for the report.
    """

    patients: NDArray[np.bool_]
    what: str


def stratum_of(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Class of each record; for several labels, the combination of them; one where none are."""
    if labels.dtype.kind not in "biu":  # no classes
        return np.zeros(len(labels), dtype=np.int64)
    if labels.ndim == 1:
        return labels
    _, inverse = np.unique(labels, axis=0, return_inverse=True)
    return np.asarray(inverse, dtype=np.int64).reshape(-1)

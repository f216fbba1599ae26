"""The cohort: records, the patients they belong to, labels, groups, and what was left out and why.

A cohort is read once (``auscult.readers``) and never changes. The patient is the unit of everything
(law 1); patient identifiers are secrets that only :class:`PatientIds` holds (law 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.inputs import Inputs

Task = Literal["binary", "multiclass", "multilabel"]

UNKNOWN = "unknown"
SEVERAL = "several values"


class PatientIds:
    """The patients' identifiers, in the cohort's order. Shown as a count, never as values."""

    def __init__(self, values: NDArray[np.str_]) -> None:
        self._values = values

    def reveal(self) -> NDArray[np.str_]:
        """The identifiers, shape (patients,). Write them under ``secret/`` only."""
        return self._values

    def __len__(self) -> int:
        return int(self._values.shape[0])

    def __repr__(self) -> str:
        return f"PatientIds({len(self)} patients, values secret)"


@dataclass(frozen=True)
class LeftOut:
    """Records that are not in the cohort, counted, with the reason (law 2)."""

    reason: str
    records: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """What a recipe may see: inputs and labels. No patient, no group, no membership."""

    inputs: Inputs
    labels: NDArray[np.int64]
    task: Task
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """Records of patients, ready to be trained on.

    Attributes
    ----------
    inputs : TableInputs or ArrayInputs
        Length: records.
    labels : int64 array, shape (records,) or (records, labels) when `task` is "multilabel"
        0 and 1 for "binary" and "multilabel", class index for "multiclass".
    task : {"binary", "multiclass", "multilabel"}
    classes : tuple of str
        Names: (negative, positive), the classes, or the labels.
    patient_of_record : int64 array, shape (records,)
        Index of the record's patient, 0 to patients - 1, numbered by first appearance.
    patient_ids : PatientIds
        Secret.
    record_rows : int64 array, shape (records,)
        Row of each record in the source (0-based): the only name a record has.
    groups : DataFrame, shape (patients, attributes)
        One string per patient and attribute; "unknown" where missing, "several values" where the
        patient's records disagree.
    left_out : tuple of LeftOut
    notes : tuple of str
        What the reader did that a reader of the report should know (pooled levels, binned groups).
    source : str
        Short public description, for example the file's name.
    """

    inputs: Inputs
    labels: NDArray[np.int64]
    task: Task
    classes: tuple[str, ...]
    patient_of_record: NDArray[np.int64]
    patient_ids: PatientIds
    record_rows: NDArray[np.int64]
    groups: pd.DataFrame
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = "data in memory"

    @property
    def records(self) -> int:
        """Number of records."""
        return int(self.patient_of_record.shape[0])

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self.patient_ids)

    def training_data(self) -> TrainingData:
        """The part that recipes may see."""
        return TrainingData(
            inputs=self.inputs, labels=self.labels, task=self.task, classes=self.classes
        )

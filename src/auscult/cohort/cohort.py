"""The cohort: records, the patients they belong to, labels, groups, and what was left out and why.

A cohort is read once (``auscult.readers``) and never changes. The patient is the unit of everything
(law 1); patient identifiers are secrets that only :class:`PatientIds` holds (law 7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.notebooks import card
from auscult.cohort.inputs import Inputs
from auscult.cohort.queries import Query

if TYPE_CHECKING:
    from auscult.readers import cohorts

Task = Literal["binary", "multiclass", "multilabel", "number", "time and event", "none"]
# Tasks whose labels are classes, which every access and every built-in recipe can read.
CLASS_TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")

UNKNOWN = "unknown"
SEVERAL = "several values"
SMALLEST_CELL = 10
BASE = 5


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
    """What a recipe may see: inputs and labels. No identifier, no group, no membership.

    Attributes
    ----------
    inputs : TableInputs or ArrayInputs
    labels : array
        As :attr:`Cohort.labels`.
    task : str
        As :attr:`Cohort.task`.
    classes : tuple of str
        Empty where labels are no classes.
    patient_of_record : int64 array, shape (records,), optional
        Which records belong together, as numbers without meaning: private training at patient
        level samples and clips them together.
    queries : tuple of Query
        What its models are asked besides the records, drawn with `query_seed`.
    share : float
        Of the patients that a model trains on.
    white_box : bool
        Whether its models also tell what their weights say of each record.
    """

    inputs: Inputs
    labels: NDArray[Any]
    task: Task
    classes: tuple[str, ...]
    patient_of_record: NDArray[np.int64] | None = None
    queries: tuple[Query, ...] = ()
    query_seed: int = 0
    share: float = 0.5
    white_box: bool = False

    def __repr__(self) -> str:
        queries = "".join(f", {query.text}" for query in self.queries)
        return f"TrainingData({self.inputs!r}, {self.task}{queries})"

    def views(self) -> Iterator[Inputs]:
        """Inputs of every further query, one after the other, in the order of the queries."""
        for query in self.queries:
            yield from query.apply(self.inputs, self.query_seed)


class _Door:
    """A function that reads a cohort: the readers load when it is first asked for.

    The cohort knows no reader. Readers make cohorts, so an import would make a circle.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, cohort: Cohort | None, owner: type[Cohort]) -> Callable[..., Cohort]:
        found: Callable[..., Cohort] = getattr(import_module("auscult.readers.cohorts"), self._name)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """Records of patients, ready to be trained on.

    Attributes
    ----------
    inputs : TableInputs or ArrayInputs
        Length: records.
    labels : array, shape (records,), or (records, labels) of several
        int64 for classes: 0 and 1 for "binary" and "multilabel", class index for "multiclass".
        float64 for "number". Fields "event" (bool) and "time" (float64) for "time and event".
        Shape (records, 0) for "none".
    task : {"binary", "multiclass", "multilabel", "number", "time and event", "none"}
    classes : tuple of str
        Names: (negative, positive), the classes, or the labels; empty for other tasks.
    patient_of_record : int64 array, shape (records,)
        Index of the record's patient, 0 to patients - 1, numbered by first appearance.
    patient_ids : PatientIds
        Secret.
    record_rows : int64 array, shape (records,)
        Row of each record in the source (0-based): the only identifier of a record. Where a file
        holds several records, their number among all that were decoded.
    groups : DataFrame, shape (patients, attributes)
        One string per patient and attribute; "unknown" where missing, "several values" where the
        patient's records disagree.
    left_out : tuple of LeftOut
    notes : tuple of str
        What was done while reading that the report should mention (pooled levels, binned groups).
    source : str
        Short public description, for example the file's name.
    label_name : str
        The label's own name, for example its column; empty where it has none.
    strata : int64 array, shape (records,), optional
        Classes within which records are compared where labels are not classes: the declared bin of
        a number, or whether the event happened.
    stratum_names : tuple of str
        Names of these.
    """

    inputs: Inputs
    labels: NDArray[Any]
    task: Task
    classes: tuple[str, ...]
    patient_of_record: NDArray[np.int64]
    patient_ids: PatientIds
    record_rows: NDArray[np.int64]
    groups: pd.DataFrame
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = "data in memory"
    label_name: str = ""
    strata: NDArray[np.int64] | None = None
    stratum_names: tuple[str, ...] = ()

    # Each is a function of the readers, with its keywords: see `auscult.readers.cohorts`.
    if TYPE_CHECKING:
        from_table = staticmethod(cohorts.from_table)
        from_arrays = staticmethod(cohorts.from_arrays)
        from_images = staticmethod(cohorts.from_images)
        from_signals = staticmethod(cohorts.from_signals)
        from_events = staticmethod(cohorts.from_events)
    else:
        from_table, from_arrays, from_images, from_signals, from_events = (
            _Door(f"from_{kind}") for kind in ("table", "arrays", "images", "signals", "events")
        )

    def __repr__(self) -> str:
        groups = ", ".join(map(str, self.groups.columns)) or "none"
        number = sum(one.records for one in self.left_out)
        left_out = f"fewer than {SMALLEST_CELL}" if 0 < number < SMALLEST_CELL else f"{number:,}"
        return (
            f"Cohort({self.source!r}: {self.records:,} records of {self.patients:,} patients, "
            f"{left_out} left out; {self.inputs!r}; {self.task}"
            f"{f' of {len(self.classes)}' if self.classes else ''}; "
            f"groups: {groups})"
        )

    def _repr_html_(self) -> str:
        return card("Cohort", self.shown())

    def shown(self, smallest_cell: int = SMALLEST_CELL) -> list[tuple[str, str]]:
        """What a notebook shows: counts, as :meth:`summary` may publish them; no value."""
        told = self.summary(smallest_cell)
        few = f"fewer than {smallest_cell}"
        classes = [
            f"{one['name']} ({few} patients)"
            if one["records"] is None
            else f"{one['name']} {one['records']:,}"
            for one in told["classes"]
        ]
        bands = told["records_per_patient"]["bands"]
        return [
            ("Source", self.source),
            ("Size", f"{self.records:,} records of {self.patients:,} patients"),
            ("Inputs", repr(self.inputs)),
            ("Task", f"{self.task}: {', '.join(classes)}" if classes else self.task),
            (
                "Records per patient",
                ", ".join(
                    f"{one['records']} ({one['patients']:,} patients)"
                    for one in bands
                    if one["patients"]
                ),
            ),
            ("Groups", ", ".join(told["groups"])),
            (
                "Left out",
                "; ".join(
                    f"{few if 0 < one.records < smallest_cell else f'{one.records:,}'} records: "
                    f"{one.reason}"
                    for one in self.left_out
                ),
            ),
            ("Notes", "; ".join(self.notes)),
        ]

    @property
    def records(self) -> int:
        """Number of records."""
        return int(self.patient_of_record.shape[0])

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self.patient_ids)

    @property
    def compared(self) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        """Classes within and by which records are compared, and their names; None without any."""
        if self.task in CLASS_TASKS:
            return self.labels, self.classes
        return self.strata, self.stratum_names

    def training_data(
        self,
        queries: tuple[Query, ...] = (),
        seed: int = 0,
        share: float = 0.5,
        *,
        white_box: bool = False,
    ) -> TrainingData:
        """The part that recipes may see, with the further queries that models answer.

        Parameters
        ----------
        queries : tuple of Query
        seed : int
            With which queries are drawn.
        share : float
            Of the patients that a model trains on.
        white_box : bool
            Whether models also tell what their weights say of each record.
        """
        return TrainingData(
            inputs=self.inputs,
            labels=self.labels,
            task=self.task,
            classes=self.classes,
            queries=queries,
            query_seed=seed,
            patient_of_record=self.patient_of_record,
            share=share,
            white_box=white_box,
        )

    def fingerprint(self) -> str:
        """SHA-256 of everything that results depend on; it reveals no value."""
        digest = hashlib.sha256(self.inputs.fingerprint().encode())
        digest.update(repr((self.task, self.classes, list(self.groups.columns))).encode())
        for array in (self.labels, self.patient_of_record):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
        for part in (self.groups.to_numpy().ravel(), self.patient_ids.reveal()):
            digest.update("\0".join(map(str, part)).encode())
        return digest.hexdigest()

    def summary(self, smallest_cell: int = SMALLEST_CELL) -> dict[str, Any]:
        """The "cohort" object of the summary: counts only."""
        classes, names = self.compared
        return {
            "source": self.source,
            "records": self.records,
            "patients": self.patients,
            "task": self.task,
            "classes": []
            if classes is None
            else released_classes(classes, names, self.patient_of_record, smallest_cell),
            "records_per_patient": records_per_patient(self.patient_of_record, smallest_cell),
            "groups": [str(name) for name in self.groups.columns],
            "left_out": [{"reason": one.reason, "records": one.records} for one in self.left_out],
            "notes": list(self.notes),
        }


def released_classes(
    labels: NDArray[np.int64],
    names: Sequence[str],
    patient_of_record: NDArray[np.int64],
    smallest_cell: int = SMALLEST_CELL,
) -> list[dict[str, Any]]:
    """Records of each class, as they may be published.

    Of a class that fewer patients than the smallest cell have, only that is said, and the other
    classes' records are rounded, so that its own do not follow from the total.

    Parameters
    ----------
    labels : int64 array, shape (records,) or (records, labels)
    names : sequence of str
        One per class, or per label.
    patient_of_record : int64 array, shape (records,)
    smallest_cell : int
    """
    columns = [labels == k if labels.ndim == 1 else labels[:, k] == 1 for k in range(len(names))]
    few = [0 < np.unique(patient_of_record[having]).size < smallest_cell for having in columns]
    base = BASE if any(few) else 1
    return [
        {"name": name, "records": None, "fewer_than": {"patients": smallest_cell}}
        if is_few
        else {"name": name, "records": base * round(int(having.sum()) / base)}
        for name, having, is_few in zip(names, columns, few, strict=True)
    ]


def record_bands(
    count: NDArray[np.int64], smallest_cell: int
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Patients by record count: 1, 2, 3-5 and 6+; a band of too few joins the one before it.

    Parameters
    ----------
    count : int64 array, shape (patients,)
        Records of each patient.
    smallest_cell : int
        Bands with fewer patients are not shown on their own.

    Returns
    -------
    list of (name, bool array of shape (patients,))
        Together they hold everybody.
    """
    bounds: list[tuple[int, int | None]] = [(1, 1), (2, 2), (3, 5), (6, None)]

    def inside(low: int, high: int | None) -> NDArray[np.bool_]:
        return (count >= low) & (count <= (high or np.iinfo(np.int64).max))

    place = len(bounds) - 1
    while len(bounds) > 1:
        small = [i for i, band in enumerate(bounds) if 0 < inside(*band).sum() < smallest_cell]
        if not small:
            break
        place = max(small[-1], 1)
        bounds[place - 1 : place + 1] = [(bounds[place - 1][0], bounds[place][1])]
    names = [
        f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"
        for low, high in bounds
    ]
    return [(name, inside(*band)) for name, band in zip(names, bounds, strict=True)]


def records_per_patient(
    patient_of_record: NDArray[np.int64], smallest_cell: int = SMALLEST_CELL
) -> dict[str, Any]:
    """How many records patients have: median, maximum, and patients per band."""
    counts = np.bincount(patient_of_record)
    return {
        "median": float(np.median(counts)),
        # The most that a cell of patients reach: the largest number of all is one patient's.
        "max": int(np.sort(counts)[-min(max(smallest_cell, 1), counts.size)]),
        "bands": [
            {"records": name, "patients": int(inside.sum())}
            for name, inside in record_bands(counts, smallest_cell)
        ],
    }


def group_of_patients(
    values: Sequence[str], patient_of_record: NDArray[np.int64], patients: int
) -> NDArray[np.object_]:
    """One value per patient from one per record.

    Parameters
    ----------
    values : sequence of str
        One per record, empty where missing.
    patient_of_record : int64 array, shape (records,)
    patients : int

    Returns
    -------
    object array of str, shape (patients,)
        "unknown" where all are missing, "several values" where records disagree.
    """
    codes, found = pd.factorize(np.asarray(values, dtype=object))
    present = np.array([str(value) != "" for value in found], dtype=bool)[codes]
    rows = patient_of_record[present]
    low = np.full(patients, len(found), dtype=np.int64)
    high = np.full(patients, -1, dtype=np.int64)
    np.minimum.at(low, rows, codes[present])
    np.maximum.at(high, rows, codes[present])
    result = np.full(patients, UNKNOWN, dtype=object)
    agreed = low == high
    result[agreed] = np.asarray(found, dtype=object)[low[agreed]]
    result[(high >= 0) & ~agreed] = SEVERAL
    return result

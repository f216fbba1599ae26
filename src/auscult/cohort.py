"""The cohort: records, the patients they belong to, labels, groups, and what was left out and why.

A cohort is read once (``auscult.readers``) and never changes. The patient is the unit of everything
(law 1); patient identifiers are secrets that only :class:`PatientIds` holds (law 7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.inputs import Inputs
from auscult.progress import SILENT, Progress
from auscult.queries import Query

Task = Literal["binary", "multiclass", "multilabel"]

UNKNOWN = "unknown"
SEVERAL = "several values"
SMALLEST_CELL = 10


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
    labels : int64 array
    task : {"binary", "multiclass", "multilabel"}
    classes : tuple of str
    patient_of_record : int64 array, shape (records,), optional
        Which records belong together, as numbers without meaning: private training at patient
        level samples and clips them together.
    queries : tuple of Query
        What its models are asked besides the records, drawn with `query_seed`.
    """

    inputs: Inputs
    labels: NDArray[np.int64]
    task: Task
    classes: tuple[str, ...]
    patient_of_record: NDArray[np.int64] | None = None
    queries: tuple[Query, ...] = ()
    query_seed: int = 0

    def views(self) -> Iterator[Inputs]:
        """Inputs of every further query, one after the other, in the order of the queries."""
        for query in self.queries:
            yield from query.apply(self.inputs, self.query_seed)


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
        Row of each record in the source (0-based): the only name a record has. Where a file holds
        several records, their number among all that were decoded.
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

    @classmethod
    def from_table(cls, data: Any, **how: Any) -> Cohort:  # noqa: ANN401
        """Read a table: one row per record, inputs are its columns.

        Parameters
        ----------
        data : path-like or dataframe
            ``.csv``, ``.csv.gz``, ``.parquet``, or any dataframe (pandas, polars, pyarrow).
        **how
            Keywords of :class:`auscult.readers.Reading`: `patient` and `label` are needed;
            `groups`, `positive`, `exclude`, `missing` and others may be given.

        Raises
        ------
        CohortError
            The table cannot be read or does not make a cohort. Identifiers are never quoted.

        Examples
        --------
        >>> Cohort.from_table(
        ...     "visits.csv", patient="id", label="readmitted", groups=["sex"]
        ... )  # doctest: +SKIP
        """
        from auscult.readers import Reading

        return Reading(**how).table(data)

    @classmethod
    def from_arrays(
        cls,
        array: Any,  # noqa: ANN401
        table: Any,  # noqa: ANN401
        *,
        key: str | None = None,
        channels: str = "auto",
        nan: float | None = None,
        **how: Any,  # noqa: ANN401
    ) -> Cohort:
        """Read images or signals and the table that describes them, row by row.

        Parameters
        ----------
        array : path-like or array
            ``.npy`` or ``.npz`` (memory-mapped where the file allows), or an array: (records,
            height, width), with channels first or last, or (records, length).
        table : path-like or dataframe
            Row i describes record i. Its columns are labels and groups, not inputs.
        key : str, optional
            Which array of an npz.
        channels : {"auto", "none", "first", "last"}
        nan : float, optional
            What NaN is read as; refused where not said.
        **how
            As in :meth:`from_table`.

        Raises
        ------
        CohortError
            As :meth:`from_table`; or array and table differ in length.
        """
        from auscult.readers import Reading

        return Reading(**how).arrays(array, table, key=key, channels=channels, nan=nan)

    @classmethod
    def from_images(
        cls,
        root: Any,  # noqa: ANN401
        table: Any = None,  # noqa: ANN401
        *,
        image_size: int | Sequence[int],
        path: str | None = None,
        colour: str = "auto",
        slices: str | int | None = None,
        depth: int | None = None,
        window: Sequence[float] | None = None,
        fit: str = "stretch",
        header: Sequence[str] = (),
        cache: Any = None,  # noqa: ANN401
        workers: int | None = None,
        progress: Progress = SILENT,
        **how: Any,  # noqa: ANN401
    ) -> Cohort:
        """Read a folder of PNG, JPEG, TIFF, DICOM or NIfTI files, decoded once and cached.

        Parameters
        ----------
        root : path-like
            The folder. Nothing outside it is read.
        table : path-like or dataframe, optional
            One row per file. Without it the columns are "file" (the path), "folder" (the first
            folder of the path) and those of `header`.
        image_size : int or (height, width)
        path : str, optional
            Column of the table with paths relative to the folder.
        colour, slices, depth, window, fit, header
            See :class:`auscult.readers.images.ImageSettings`.
        cache : path-like, optional
            Folder for decoded images; AUSCULT_CACHE or the user's cache folder by default.
        workers : int, optional
            Processes that decode; only the speed.
        progress : Progress
        **how
            As in :meth:`from_table`.

        Raises
        ------
        CohortError
            As :meth:`from_table`; a path leads out of the folder; no file can be decoded.

        Examples
        --------
        >>> Cohort.from_images(
        ...     "dicom/",
        ...     header=["PatientID", "PatientSex"],
        ...     image_size=64,
        ...     join={"table": "outcomes.csv", "on": "PatientID"},
        ...     patient="PatientID",
        ...     label="pneumonia",
        ...     groups=["PatientSex"],
        ... )  # doctest: +SKIP
        """
        from auscult.readers import Reading
        from auscult.readers.folders import read_images
        from auscult.readers.images import ImageSettings

        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        settings = ImageSettings(
            size=size,
            colour=cast("Any", colour),
            slices=slices,
            depth=depth,
            window=None if window is None else tuple(window),
            fit=cast("Any", fit),
            header=tuple(header),
        )
        return read_images(
            Reading(**how),
            root,
            table,
            path=path,
            settings=settings,
            cache=cache,
            workers=workers,
            progress=progress,
        )

    @classmethod
    def from_signals(
        cls,
        root: Any,  # noqa: ANN401
        table: Any = None,  # noqa: ANN401
        *,
        seconds: float,
        path: str | None = None,
        rate: float | None = None,
        leads: Sequence[str] = (),
        start: float = 0.0,
        windows: str = "first",
        cache: Any = None,  # noqa: ANN401
        workers: int | None = None,
        progress: Progress = SILENT,
        **how: Any,  # noqa: ANN401
    ) -> Cohort:
        """Read a folder of recordings (WFDB, npz, npy), read once and cached.

        Parameters
        ----------
        root : path-like
            The folder. Nothing outside it is read.
        table : path-like or dataframe, optional
            One row per recording. Without it the columns are "file" and "folder".
        path : str, optional
            Column of the table with paths relative to the folder.
        seconds, rate, leads, start, windows
            See :class:`auscult.readers.signals.SignalSettings`.
        cache, workers, progress
            As in :meth:`from_images`.
        **how
            As in :meth:`from_table`.

        Raises
        ------
        CohortError
            As :meth:`from_images`.
        """
        from auscult.readers import Reading
        from auscult.readers.folders import read_signals
        from auscult.readers.signals import SignalSettings

        settings = SignalSettings(
            seconds=seconds, rate=rate, leads=tuple(leads), start=start, windows=windows
        )
        return read_signals(
            Reading(**how),
            root,
            table,
            path=path,
            settings=settings,
            cache=cache,
            workers=workers,
            progress=progress,
        )

    @classmethod
    def from_events(
        cls,
        root: Any,  # noqa: ANN401
        table: Any = None,  # noqa: ANN401
        *,
        patient: str = "subject_id",
        admission: str | None = None,
        discharge: str | None = None,
        hours: float | None = None,
        within_hours: float | None = None,
        time: str | None = None,
        max_codes: int = 200,
        progress: Progress = SILENT,
        **how: Any,  # noqa: ANN401
    ) -> Cohort:
        """Read a MEDS dataset: events of subjects become one row of features per record.

        Parameters
        ----------
        root : path-like
            The dataset's folder.
        table : path-like or dataframe, optional
            One row per record: subject, prediction time and label. Without it a record is an
            admission, and `label` is the code whose coming after the window is predicted.
        patient : str
            The table's column of subjects; the name of the column without a table.
        admission, discharge, hours, within_hours, time, max_codes
            See :class:`auscult.readers.events.EventSettings`.
        progress : Progress
        **how
            As in :meth:`from_table`.

        Raises
        ------
        CohortError
            As :meth:`from_table`.
        """
        from auscult.readers import Reading
        from auscult.readers.events import EventSettings
        from auscult.readers.meds import read_events

        settings = EventSettings(
            admission=admission,
            discharge=discharge,
            hours=hours,
            within_hours=within_hours,
            time=time,
            max_codes=max_codes,
        )
        return read_events(Reading(patient=patient, **how), root, table, settings, progress)

    @property
    def records(self) -> int:
        """Number of records."""
        return int(self.patient_of_record.shape[0])

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self.patient_ids)

    def training_data(self, queries: tuple[Query, ...] = (), seed: int = 0) -> TrainingData:
        """The part that recipes may see, with what their models are asked besides."""
        return TrainingData(
            inputs=self.inputs,
            labels=self.labels,
            task=self.task,
            classes=self.classes,
            queries=queries,
            query_seed=seed,
            patient_of_record=self.patient_of_record,
        )

    def fingerprint(self) -> str:
        """SHA-256 of everything that results depend on; no value can be read from it."""
        digest = hashlib.sha256(self.inputs.fingerprint().encode())
        digest.update(repr((self.task, self.classes, list(self.groups.columns))).encode())
        for array in (self.labels, self.patient_of_record):
            digest.update(np.ascontiguousarray(array).data)
        for part in (self.groups.to_numpy().ravel(), self.patient_ids.reveal()):
            digest.update("\0".join(map(str, part)).encode())
        return digest.hexdigest()

    def summary(self, smallest_cell: int = SMALLEST_CELL) -> dict[str, Any]:
        """The "cohort" object of the summary: counts only."""
        if self.task == "multilabel":
            sizes = self.labels.sum(axis=0)
        else:
            sizes = np.bincount(self.labels, minlength=len(self.classes))
        return {
            "source": self.source,
            "records": self.records,
            "patients": self.patients,
            "task": self.task,
            "classes": [
                {"name": name, "records": int(n)}
                for name, n in zip(self.classes, sizes, strict=True)
            ],
            "records_per_patient": records_per_patient(self.patient_of_record, smallest_cell),
            "groups": [str(name) for name in self.groups.columns],
            "left_out": [{"reason": one.reason, "records": one.records} for one in self.left_out],
            "notes": list(self.notes),
        }


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
        "max": int(counts.max()),
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

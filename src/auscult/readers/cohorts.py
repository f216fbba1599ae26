"""The doors of :class:`auscult.Cohort`: each reads one kind of source and returns a cohort.

``Cohort.from_table`` and the like are these functions. Keywords that all of them take are written
once, in :class:`Labelled` and :class:`Columns`: type checkers and ``help`` show them.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Required, TypedDict, Unpack, get_type_hints

from numpy.typing import ArrayLike

from auscult.base.naming import arguments_of
from auscult.base.notebooks import USUAL
from auscult.base.progress import Progress
from auscult.cohort import Cohort, Task
from auscult.readers.arrays import read_by
from auscult.readers.columns import Dates
from auscult.readers.events import MAX_CODES, EventSettings
from auscult.readers.folders import read_folder
from auscult.readers.images import Colour, Fit, ImageSettings
from auscult.readers.joining import Join
from auscult.readers.meds import read_events
from auscult.readers.outcomes import Outcome
from auscult.readers.quantities import Decimal
from auscult.readers.reading import Reading
from auscult.readers.signals import SignalSettings

# Keys of a configuration that are positional arguments here.
KEYS = {"table": "data", "images": "root", "signals": "root", "events": "root"}

AnyPath = str | os.PathLike[str]


class Labelled(TypedDict, total=False):
    """What columns mean; see :class:`auscult.readers.column_meaning.ColumnMeaning`."""

    label: str | Sequence[str]
    outcome: Outcome
    groups: Sequence[str]
    positive: Sequence[str] | None
    label_groups: Mapping[str, Sequence[str]] | None
    label_bins: Sequence[float] | None
    task: Task | None
    bins: Mapping[str, Sequence[float]] | None
    exclude: Sequence[str]
    inputs: Sequence[str]
    missing: Sequence[str]
    missing_in: Mapping[str, Sequence[str]] | None
    numeric: Sequence[str]
    categorical: Sequence[str]
    max_levels: int
    min_level_patients: int
    max_patients: int | None
    seed: int
    source: str | None
    join: Join | Mapping[str, Any] | Sequence[Join | Mapping[str, Any]] | None
    delimiter: str | None
    decimal: Decimal | None
    dates: Dates | None


class Columns(Labelled, total=False):
    """:class:`Labelled` with the column that says whose record it is."""

    patient: Required[str]


def from_table(data: Any, **how: Unpack[Columns]) -> Cohort:  # noqa: ANN401
    """Read a table: one row per record, inputs are its columns.

    Parameters
    ----------
    data : path-like or dataframe
        ``.csv``, ``.csv.gz``, ``.parquet``, or any dataframe (pandas, polars, pyarrow).
    **how
        Keywords of :class:`auscult.readers.column_meaning.ColumnMeaning`: `patient` and `label`
        are needed; `groups`, `positive`, `exclude`, `missing` and others may be given.

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
    with arguments_of({"cohort": from_table}, KEYS):
        return _reading(from_table, how).table(data)


def from_arrays(
    array: ArrayLike | os.PathLike[str],
    table: Any,  # noqa: ANN401
    *,
    key: str | Sequence[str] | None = None,
    channels: str = "auto",
    nan: float | None = None,
    **how: Unpack[Columns],
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
        Which array of an npz; several make several inputs, by name.
    channels : {"auto", "none", "first", "last"}
    nan : float, optional
        The number that replaces NaN; NaN is refused when None.
    **how
        As in :func:`from_table`.

    Raises
    ------
    CohortError
        As :func:`from_table`; or array and table differ in length.
    """
    with arguments_of({"cohort": from_arrays}, KEYS):
        reading = _reading(from_arrays, how)
        cohort = reading.arrays(array, table, key=key, channels=channels, nan=nan)
        return replace(cohort, notes=(*cohort.notes, *read_by(array)))


def from_images(
    root: AnyPath,
    table: Any = None,  # noqa: ANN401
    *,
    image_size: int | Sequence[int],
    path: str | None = None,
    colour: Colour = "auto",
    slices: str | int | None = None,
    depth: int | None = None,
    window: Sequence[float] | None = None,
    fit: Fit = "stretch",
    header: Sequence[str] = (),
    cache: AnyPath | None = None,
    workers: int | None = None,
    progress: Progress = USUAL,
    **how: Unpack[Columns],
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
        Processes that decode. Affects only the speed.
    progress : Progress
    **how
        As in :func:`from_table`.

    Raises
    ------
    CohortError
        As :func:`from_table`; a path leads outside the folder; no file can be decoded.

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
    with arguments_of({"cohort": from_images}, KEYS):
        settings = ImageSettings(
            size=(image_size, image_size) if isinstance(image_size, int) else tuple(image_size),
            colour=colour,
            slices=slices,
            depth=depth,
            window=None if window is None else tuple(window),
            fit=fit,
            header=tuple(header),
        )
        return read_folder(
            _reading(from_images, how),
            root,
            table,
            path=path,
            settings=settings,
            cache=cache,
            workers=workers,
            progress=progress,
        )


def from_signals(
    root: AnyPath,
    table: Any = None,  # noqa: ANN401
    *,
    seconds: float,
    path: str | None = None,
    rate: float | None = None,
    leads: Sequence[str] = (),
    start: float = 0.0,
    windows: str = "first",
    cache: AnyPath | None = None,
    workers: int | None = None,
    progress: Progress = USUAL,
    **how: Unpack[Columns],
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
        As in :func:`from_images`.
    **how
        As in :func:`from_table`.

    Raises
    ------
    CohortError
        As :func:`from_images`.
    """
    with arguments_of({"cohort": from_signals}, KEYS):
        settings = SignalSettings(
            seconds=seconds, rate=rate, leads=tuple(leads), start=start, windows=windows
        )
        return read_folder(
            _reading(from_signals, how),
            root,
            table,
            path=path,
            settings=settings,
            cache=cache,
            workers=workers,
            progress=progress,
        )


def from_events(
    root: AnyPath,
    table: Any = None,  # noqa: ANN401
    *,
    patient: str = "subject_id",
    admission: str | None = None,
    discharge: str | None = None,
    hours: float | None = None,
    within_hours: float | None = None,
    time: str | None = None,
    max_codes: int = MAX_CODES,
    progress: Progress = USUAL,
    **how: Unpack[Labelled],
) -> Cohort:
    """Read a MEDS dataset: events of subjects become one row of features per record.

    Parameters
    ----------
    root : path-like
        The dataset's folder.
    table : path-like or dataframe, optional
        One row per record: subject, prediction time and label. Without it a record is an admission,
        and `label` is the code whose occurrence after the window is predicted.
    patient : str
        The table's column of subjects; the name of the column without a table.
    admission, discharge, hours, within_hours, time, max_codes
        See :class:`auscult.readers.events.EventSettings`.
    progress : Progress
    **how
        As in :func:`from_table`, without `patient`.

    Raises
    ------
    CohortError
        As :func:`from_table`.
    """
    with arguments_of({"cohort": from_events}, KEYS):
        settings = EventSettings(
            admission=admission,
            discharge=discharge,
            hours=hours,
            within_hours=within_hours,
            time=time,
            max_codes=max_codes,
        )
        return read_events(
            _reading(from_events, {"patient": patient, **how}), root, table, settings, progress
        )


def _reading(door: Callable[..., Cohort], how: Mapping[str, Any]) -> Reading:
    """What the columns mean; keywords that are wrong are refused by the name of the door."""
    known = inspect.signature(door).parameters
    for name in how:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f". Did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{door.__name__}() got an unexpected keyword argument {name!r}{hint}")
    needed = ("patient",) if how.get("outcome") == "none" else ("patient", "label")
    missing = [repr(name) for name in needed if name not in how]
    if missing:
        raise TypeError(f"{door.__name__}() needs the keyword {' and '.join(missing)}")
    return Reading(**how)


def _show(door: Callable[..., Cohort], keywords: type[Any]) -> None:
    """Let ``help`` and editors show the keywords of a typed dictionary one by one."""
    given = inspect.signature(door)
    defaults = inspect.signature(Reading).parameters
    own = [one for one in given.parameters.values() if one.kind is not one.VAR_KEYWORD]
    shown = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=defaults[name].default
        )
        for name, hint in get_type_hints(keywords).items()
    ]
    shown.sort(key=lambda one: (one.default is not one.empty, one.name == "label"))
    door.__signature__ = given.replace(parameters=[*own, *shown])  # type: ignore[attr-defined]


for _read in (from_table, from_arrays, from_images, from_signals):
    _show(_read, Columns)
_show(from_events, Labelled)

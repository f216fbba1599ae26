"""Files of a MEDS dataset, and the windows of time that become records.

Admissions are found by their codes, or prediction times are told by a table of labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.base.progress import Progress
from auscult.cohort import LeftOut
from auscult.readers.paths import locate, scan
from auscult.readers.tables import require_columns
from auscult.readers.values import numbers, texts

HOUR_SECONDS = 3600
MAX_CODES = 200
COLUMNS = ("subject_id", "time", "code", "numeric_value")
ASIDE = ("metadata", "labels", "task_labels")


@dataclass(frozen=True, kw_only=True)
class EventSettings:
    """How events become records.

    Attributes
    ----------
    admission : str, optional
        Code that begins a record; also those that continue it after ``//``. Needed without a table.
    discharge : str, optional
        Code that ends an admission; the subject's next admission ends it too.
    hours : float, optional
        Of an admission, how long after it began its window ends. With a table: how far before the
        prediction time the window begins; as far as there are events where not given.
    within_hours : float, optional
        The outcome counts so long after the window; to the end of the admission where not given.
    time : str, optional
        Column of the table with prediction times.
    max_codes : int
        Codes beyond the most common ones are counted together.
    """

    admission: str | None = None
    discharge: str | None = None
    hours: float | None = None
    within_hours: float | None = None
    time: str | None = None
    max_codes: int = MAX_CODES

    def check(self, with_table: bool, label: str | Sequence[str]) -> None:
        """Raise a CohortError for settings that do not go together."""
        for key in ("hours", "within_hours"):
            value = getattr(self, key)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise CohortError(f"{value} hours", where=f"cohort.{key}", expected="more than 0")
        if self.max_codes < 1:
            raise CohortError("no codes", where="cohort.max_codes", expected="1 or more")
        needed, barred = ("time",), ("admission", "discharge", "within_hours")
        if not with_table:
            needed, barred = ("admission", "hours"), ("time",)  # type: ignore[assignment]
            if not isinstance(label, str):
                raise CohortError("several labels need a table", where="cohort.label")
        for key in needed:
            if getattr(self, key) is None:
                raise CohortError(
                    "is missing",
                    where=f"cohort.{key}",
                    expected="the column of prediction times"
                    if with_table
                    else (
                        "the code that starts an admission, and the number of hours after it that "
                        "are used"
                    ),
                )
        for key in barred:
            if getattr(self, key) is not None:
                raise CohortError(
                    "would not be used "
                    + ("with a table of labels" if with_table else "without a table of labels"),
                    where=f"cohort.{key}",
                    next_step="Leave it out",
                )


@dataclass(eq=False)
class Windows:
    """Rows to make: whose they are, and from when to when events are theirs."""

    subject: NDArray[np.int64] = field(repr=False)
    start: NDArray[np.datetime64]
    end: NDArray[np.datetime64]


def event_files(root: str | os.PathLike[str]) -> list[Path]:
    """Files of events: those under ``data``, or all that are not metadata or labels."""
    names, _ = scan(root, "cohort.events", (".parquet",))
    inner = [name for name in names if Path(name).parts[0] == "data"]
    chosen = inner or [name for name in names if Path(name).parts[0] not in ASIDE]
    found = locate(root, chosen, "cohort.events")
    refused = [reason for reason in found.reasons if reason]
    if refused or not chosen:
        raise CohortError(
            f"{len(refused)} of its files are not read: {refused[0]}"
            if refused
            else "it holds no events",
            where=f"cohort.events = {found.root}",
            expected="data/**/*.parquet, as in MEDS",
        )
    return [path for path in found.paths if path is not None]


def shards(files: Sequence[Path], progress: Progress, label: str) -> Iterator[pd.DataFrame]:
    """Events of one file after the other: subject_id, time, code, numeric_value.

    Parameters
    ----------
    files : sequence of Path
    progress : Progress
        Advanced by one per file.
    label : str
        What progress is called.
    """
    import pyarrow as pa
    from pyarrow import parquet

    progress.start(label, len(files))
    for number, path in enumerate(files):
        problem = ""
        try:
            with parquet.ParquetFile(path) as file:
                there = file.schema_arrow.names
                absent = [name for name in COLUMNS[:3] if name not in there]
                if not absent:
                    content = file.read(columns=[name for name in COLUMNS if name in there])
        except (OSError, ValueError, NotImplementedError, pa.ArrowException) as error:
            problem = f"it cannot be read ({type(error).__name__})"
        else:
            problem = f"there is no column {absent[0]}" if absent else ""
        if problem:  # not chained: Arrow's messages may quote values
            raise CohortError(
                problem,
                where=f"cohort.events, file {number + 1} of {len(files)}",
                expected=f"Parquet with the columns {', '.join(COLUMNS)}",
            )
        yield _typed(content, number, len(files))
        progress.advance()
    progress.finish()


def _typed(content: Any, number: int, count: int) -> pd.DataFrame:  # noqa: ANN401
    import pyarrow as pa
    from pyarrow import compute

    where = f"cohort.events, file {number + 1} of {count}"
    subject, time, code = (content.column(name) for name in COLUMNS[:3])
    if not pa.types.is_integer(subject.type) or subject.null_count:
        raise CohortError("subject_id is not a whole number in every row", where=where)
    if not (pa.types.is_timestamp(time.type) or pa.types.is_null(time.type)):
        raise CohortError("time is not a timestamp", where=where)
    if code.null_count:
        raise CohortError(f"{code.null_count} events have no code", where=where)
    if pa.types.is_dictionary(code.type):
        code = compute.cast(code, code.type.value_type)
    if not (pa.types.is_string(code.type) or pa.types.is_large_string(code.type)):
        raise CohortError("code is not text", where=where)
    value = np.full(len(subject), np.nan)
    if COLUMNS[3] in content.column_names:
        value = np.asarray(content.column(COLUMNS[3]).cast(pa.float64()).to_numpy())
    stamps = time.cast(pa.timestamp("us")) if not pa.types.is_null(time.type) else time
    return pd.DataFrame(
        {
            "subject_id": subject.cast(pa.int64()).to_numpy(),
            "time": pd.to_datetime(pd.Series(stamps.to_pandas())).astype("datetime64[us]"),
            "code": code.to_pandas().astype(object),
            "value": value,
        }
    )


def _matches(codes: pd.Series[Any], code: str) -> NDArray[np.bool_]:
    """Events of a code, or of one that continues it after ``//``."""
    found = (codes == code) | codes.str.startswith(f"{code}//")
    return np.asarray(found, dtype=np.bool_)


def admissions(
    files: Sequence[Path], settings: EventSettings, outcome: str, progress: Progress
) -> tuple[pd.DataFrame, Windows, tuple[LeftOut, ...]]:
    """Admissions with a whole window, and whether the outcome came after it.

    Parameters
    ----------
    files : sequence of Path
    settings : EventSettings
    outcome : str
        The outcome to look for after the window.
    progress : Progress
    """
    parts = []
    for events in shards(files, progress, "Finding admissions"):
        kind = np.zeros(len(events), dtype=np.int8)
        for number, code in ((3, outcome), (2, settings.discharge), (1, settings.admission)):
            if code is not None:
                kind[_matches(events["code"], code)] = number
        chosen = (kind > 0) & events["time"].notna().to_numpy()
        parts.append(
            pd.DataFrame(
                {
                    "subject": events["subject_id"][chosen],
                    "time": events["time"][chosen],
                    "kind": kind[chosen],
                }
            )
        )
    marks = pd.concat(parts).sort_values(["subject", "time"], kind="stable")
    begun = marks[marks["kind"] == 1].drop_duplicates(["subject", "time"])
    if not len(begun):
        raise CohortError(f'no event has the code "{settings.admission}"', where="cohort.admission")
    if not (marks["kind"] == 3).any():
        raise CohortError(f'no event has the code "{outcome}"', where="cohort.label")
    subject = begun["subject"].to_numpy()
    start = begun["time"].to_numpy().astype("datetime64[us]")
    never = np.datetime64("2262-01-01", "us")
    following = np.append(start[1:], never)
    stop = np.where(np.append(subject[1:] == subject[:-1], False), following, never)
    ended = _first_after(marks[marks["kind"] == 2], subject, start, never)
    stop = np.minimum(stop, ended)
    end = start + _hours(settings.hours)
    short = (stop <= end) & (stop < never)
    first = _first_after(marks[marks["kind"] == 3], subject, start, never, at_once=True)
    early = ~short & (first <= end)
    later = _first_after(marks[marks["kind"] == 3], subject, end, never)
    horizon = stop if settings.within_hours is None else end + _hours(settings.within_hours)
    keep = ~short & ~early
    left_out = tuple(
        LeftOut(reason, int(count.sum()))
        for reason, count in (
            (f"admission that ends within {settings.hours:g} hours", short),
            ("admission whose outcome came before its window ended", early),
        )
        if count.any()
    )
    if not keep.any():
        raise CohortError(
            "no admission is longer than its window", where="cohort.hours", expected="fewer hours"
        )
    frame = pd.DataFrame(
        {
            "subject_id": subject[keep].astype(str),
            outcome: ((later <= horizon) & (later < never))[keep].astype(int),
        }
    )
    windows = Windows(subject=subject[keep], start=start[keep], end=end[keep])
    return frame, windows, left_out


def _hours(hours: float | None) -> np.timedelta64:
    return np.timedelta64(round((hours or 0) * HOUR_SECONDS * 1_000_000), "us")


def _first_after(
    marks: pd.DataFrame,
    subject: NDArray[np.int64],
    moment: NDArray[Any],
    never: np.datetime64,
    *,
    at_once: bool = False,
) -> NDArray[Any]:
    """For each subject and moment, the time of the first mark after it, or `never`."""
    asked = pd.DataFrame({"subject": subject, "time": moment, "row": np.arange(len(subject))})
    found = pd.merge_asof(
        asked.sort_values("time", kind="stable"),
        pd.DataFrame(
            {
                "subject": marks["subject"].to_numpy(),
                "time": marks["time"].to_numpy().astype("datetime64[us]"),
                "found": marks["time"].to_numpy().astype("datetime64[us]"),
            }
        ).sort_values("time", kind="stable"),
        on="time",
        by="subject",
        direction="forward",
        allow_exact_matches=at_once,
    ).sort_values("row")
    values = found["found"].to_numpy().astype("datetime64[us]")
    return np.where(np.isnat(values), never, values)


def predictions(
    frame: pd.DataFrame, settings: EventSettings, patient: str
) -> tuple[pd.DataFrame, Windows]:
    """Windows that end at the prediction times of a table.

    Parameters
    ----------
    frame : DataFrame
        Prediction times, one per row.
    settings : EventSettings
    patient : str
        Column of the patients' identifiers.
    """
    name = str(settings.time)
    require_columns(frame, [("cohort.patient", patient), ("cohort.time", name)], "table")
    subject, wrong = numbers(frame[patient])
    empty = int(np.isnan(subject).sum())
    if wrong or empty or (subject != np.round(subject)).any():
        raise CohortError(
            f"{max(wrong, empty, 1)} values are not whole numbers",
            where=f"column {patient}",
            expected="subject_id as in MEDS",
        )
    column: Any = frame[name]
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = pd.to_datetime(
            pd.Series(texts(column)), errors="coerce", format="ISO8601", utc=True
        )
    times = pd.DatetimeIndex(column)
    if times.tz is not None:
        times = times.tz_convert("UTC").tz_localize(None)
    missing = int(np.isnat(times.to_numpy()).sum())
    if missing:
        raise CohortError(
            f"{missing} of {len(frame)} rows have no time that can be read",
            where=f"column {name}",
            expected="for example 2150-01-31 or 2150-01-31T08:30:00",
        )
    end = times.to_numpy().astype("datetime64[us]")
    start: Any = np.full(len(end), np.datetime64("1678-01-01", "us"))
    if settings.hours is not None:
        start = end - _hours(settings.hours)
    windows = Windows(subject=subject.astype(np.int64), start=start, end=end)
    return frame.drop(columns=name), windows

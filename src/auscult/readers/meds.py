"""MEDS datasets (events of subjects in Parquet) to one row of features per admission or prediction.

What a row may know ends with its window: no event after it becomes a feature. Codes that few
patients have, and those beyond the most common ones, are counted together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.cohort import SEVERAL, Cohort, LeftOut
from auscult.errors import CohortError
from auscult.progress import SILENT, Progress
from auscult.readers.columns import RARE
from auscult.readers.paths import locate, scan
from auscult.readers.tables import numbers, read_table, require_columns, texts

if TYPE_CHECKING:
    from auscult.readers.reading import Reading

BIRTH = "MEDS_BIRTH"
AGE = "age"
YEAR = np.timedelta64(31_557_600, "s")
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
                    else "a code that begins an admission, and the hours after it that are used",
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
class _Windows:
    """Rows to make: whose they are, and from when to when events are theirs."""

    subject: NDArray[np.int64] = field(repr=False)
    start: NDArray[np.datetime64]
    end: NDArray[np.datetime64]


def read_events(
    reading: Reading,
    root: str | os.PathLike[str],
    table: Any,  # noqa: ANN401
    settings: EventSettings,
    progress: Progress = SILENT,
) -> Cohort:
    """Read a MEDS dataset; see :meth:`auscult.Cohort.from_events`."""
    settings.check(table is not None, reading.label)
    files = _files(root)
    left_out: tuple[LeftOut, ...] = ()
    notes: list[str] = []
    if table is None:
        frame, windows, left_out = _admissions(files, settings, str(reading.label), progress)
        frame = frame.rename(columns={"subject_id": reading.patient})
    else:
        frame, notes = reading.joined(read_table(table))
        reading = replace(reading, join=None)
        frame, windows = _predictions(frame, settings, reading.patient)
    features, more = _features(files, windows, settings, reading.min_level_patients, progress)
    double = [str(name) for name in features.columns if name in frame.columns]
    if double:
        raise CohortError(
            f'the column "{double[0]}" would be there twice',
            where="cohort.events",
            next_step="Rename it in the table",
        )
    frame = pd.concat([frame.reset_index(drop=True), features], axis=1)
    frame, joined = reading.joined(frame)
    return reading.from_frame(
        frame, [*notes, *more, *joined], Path(root).name or "events", left_out=left_out
    )


def _files(root: str | os.PathLike[str]) -> list[Path]:
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
            expected="data/**/*.parquet, as MEDS lays them out",
        )
    return [path for path in found.paths if path is not None]


def _shards(files: Sequence[Path], progress: Progress, label: str) -> Iterator[pd.DataFrame]:
    """Events of one file after the other: subject_id, time, code, numeric_value."""
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
        raise CohortError("subject_id is no whole number in every row", where=where)
    if not (pa.types.is_timestamp(time.type) or pa.types.is_null(time.type)):
        raise CohortError("time is no timestamp", where=where)
    if code.null_count:
        raise CohortError(f"{code.null_count} events have no code", where=where)
    if pa.types.is_dictionary(code.type):
        code = compute.cast(code, code.type.value_type)
    if not (pa.types.is_string(code.type) or pa.types.is_large_string(code.type)):
        raise CohortError("code is no text", where=where)
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


def _admissions(
    files: Sequence[Path], settings: EventSettings, outcome: str, progress: Progress
) -> tuple[pd.DataFrame, _Windows, tuple[LeftOut, ...]]:
    """Admissions with a whole window, and whether the outcome came after it."""
    parts = []
    for events in _shards(files, progress, "Finding admissions"):
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
    windows = _Windows(subject=subject[keep], start=start[keep], end=end[keep])
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


def _predictions(
    frame: pd.DataFrame, settings: EventSettings, patient: str
) -> tuple[pd.DataFrame, _Windows]:
    """Windows that end at the prediction times of a table."""
    name = str(settings.time)
    require_columns(frame, [("cohort.patient", patient), ("cohort.time", name)], "table")
    subject, wrong = numbers(frame[patient])
    empty = int(np.isnan(subject).sum())
    if wrong or empty or (subject != np.round(subject)).any():
        raise CohortError(
            f"{max(wrong, empty, 1)} values are no whole numbers",
            where=f"column {patient}",
            expected="subject_id as MEDS has it",
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
    windows = _Windows(subject=subject.astype(np.int64), start=start, end=end)
    return frame.drop(columns=name), windows


def _features(
    files: Sequence[Path],
    windows: _Windows,
    settings: EventSettings,
    least_patients: int,
    progress: Progress,
) -> tuple[pd.DataFrame, list[str]]:
    """Counts, last values and means by code; what has no time as columns; age."""
    index = pd.DataFrame(
        {
            "subject_id": windows.subject,
            "row": np.arange(len(windows.subject)),
            "start": windows.start,
            "end": windows.end,
        }
    )
    cells, timeless, births = [], [], []
    for events in _shards(files, progress, "Reading events"):
        own = events[events["subject_id"].isin(windows.subject)]
        static = own["time"].isna()
        timeless.append(own.loc[static, ["subject_id", "code"]])
        born = own["code"] == BIRTH
        births.append(own.loc[born & ~static, ["subject_id", "time"]])
        pairs = own[~static & ~born].merge(index, on="subject_id")
        pairs = pairs[(pairs["time"] >= pairs["start"]) & (pairs["time"] <= pairs["end"])]
        if len(pairs):
            cells.append(_cells(pairs))
    if not cells:
        raise CohortError("no event lies in a window", where="cohort.events")
    table, notes = _wide(pd.concat(cells), windows, settings.max_codes, least_patients)
    columns = {**_timeless(pd.concat(timeless), windows), **_age(pd.concat(births), windows)}
    new = pd.DataFrame(columns, index=table.index)
    return pd.concat([new, table], axis=1), notes


def _cells(pairs: pd.DataFrame) -> pd.DataFrame:
    """One line per row and code: events, values, their sum and the last of them."""
    pairs = pairs.sort_values("time", kind="stable")
    grouped = pairs.groupby(["row", "code"], sort=False)
    return pd.DataFrame(
        {
            "count": grouped.size(),
            "values": grouped["value"].count(),
            "sum": grouped["value"].sum(),
            "last": grouped["value"].last(),
            "time": pairs[pairs["value"].notna()].groupby(["row", "code"])["time"].max(),
        }
    ).reset_index()


def _wide(
    cells: pd.DataFrame, windows: _Windows, max_codes: int, least_patients: int
) -> tuple[pd.DataFrame, list[str]]:
    # A subject's events may lie in several files, though MEDS keeps them in one.
    cells = cells.sort_values("time", kind="stable", na_position="first")
    grouped = cells.groupby(["row", "code"], sort=False)
    cells = grouped.agg({"count": "sum", "values": "sum", "sum": "sum", "last": "last"})
    cells = cells.reset_index()
    holders = pd.DataFrame(
        {"code": cells["code"], "subject": windows.subject[cells["row"].to_numpy()]}
    ).drop_duplicates()
    counts = holders["code"].value_counts()
    order = sorted(counts.index, key=lambda code: (-counts[code], code))
    kept = [code for code in order[:max_codes] if counts[code] >= least_patients and code != RARE]
    pooled = len(order) - len(kept)
    names = sorted(kept)
    place = pd.Index(names).get_indexer(pd.Index(cells["code"]))
    place[place < 0] = len(names)
    rows = cells["row"].to_numpy()
    shape = (len(windows.subject), len(names) + 1)
    number = np.zeros(shape)
    np.add.at(number, (rows, place), cells["count"].to_numpy())
    columns: dict[str, NDArray[np.float64]] = {}
    for j, name in enumerate(names):
        columns[f"{name} count"] = number[:, j]
        mine = (place == j) & (cells["values"].to_numpy() > 0)
        if mine.any():
            last, mean = np.full(shape[0], np.nan), np.full(shape[0], np.nan)
            part = cells[mine]
            last[rows[mine]] = part["last"]
            mean[rows[mine]] = part["sum"] / part["values"]
            columns[f"{name} last"], columns[f"{name} mean"] = last, mean
    notes = []
    if pooled:
        columns[f"{RARE} count"] = number[:, -1]
        notes.append(f'events: {len(order)} codes, the {pooled} rarest counted as "{RARE}"')
    return pd.DataFrame(columns), notes


def _timeless(events: pd.DataFrame, windows: _Windows) -> dict[str, NDArray[np.object_]]:
    """Events without a time as columns: ``GENDER//F`` is F in the column GENDER."""
    parts = events["code"].astype(str).str.split("//", n=1, expand=True)
    values = parts[1] if 1 in parts.columns else pd.Series(None, index=parts.index, dtype=object)
    told = pd.DataFrame(
        {"subject": events["subject_id"], "name": parts[0], "value": values.fillna("1")}
    ).drop_duplicates()
    columns = {}
    for name, mine in told.groupby("name"):
        several = mine["subject"].duplicated(keep=False)
        value = pd.Series(
            np.where(several, SEVERAL, mine["value"].to_numpy()),
            index=mine["subject"],
            dtype=object,
        )
        value = value[~value.index.duplicated()]
        columns[str(name)] = value.reindex(windows.subject).to_numpy(dtype=object)
    return columns


def _age(births: pd.DataFrame, windows: _Windows) -> dict[str, NDArray[np.float64]]:
    """Years from birth to the end of the window."""
    if not len(births):
        return {}
    born = births.groupby("subject_id")["time"].min().reindex(windows.subject)
    lived = windows.end - born.to_numpy().astype("datetime64[us]")
    return {AGE: np.floor(lived / YEAR)}

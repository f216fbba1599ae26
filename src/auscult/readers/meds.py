"""MEDS datasets (events of subjects in Parquet) to one row of features per admission or prediction.

What a row may know ends with its window: no event after it becomes a feature. Codes that few
patients have, and those beyond the most common ones, are counted together.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort, LeftOut
from auscult.cohort.cohort import SEVERAL
from auscult.readers.columns import RARE
from auscult.readers.events import (
    EventSettings,
    Windows,
    admissions,
    event_files,
    predictions,
    shards,
)

if TYPE_CHECKING:
    from auscult.readers.reading import Reading

BIRTH = "MEDS_BIRTH"
AGE = "age"
YEAR = np.timedelta64(31_557_600, "s")


def read_events(
    reading: Reading,
    root: str | os.PathLike[str],
    table: Any,  # noqa: ANN401
    settings: EventSettings,
    progress: Progress = SILENT,
) -> Cohort:
    """Read a MEDS dataset; see :meth:`auscult.Cohort.from_events`.

    Parameters
    ----------
    reading : Reading
    root : path-like
        The dataset's folder.
    table : path-like, dataframe or None
        Labels and prediction times; None where the outcome says them.
    settings : EventSettings
    progress : Progress
    """
    settings.check(table is not None, reading.label)
    files = event_files(root)
    left_out: tuple[LeftOut, ...] = ()
    notes: list[str] = []
    if table is None:
        frame, windows, left_out = admissions(files, settings, str(reading.label), progress)
        frame = frame.rename(columns={"subject_id": reading.patient})
    else:
        frame, notes = reading.joined(reading.read(table))
        reading = replace(reading, join=None)
        frame, windows = predictions(frame, settings, reading.patient)
    features, more = _features(files, windows, settings, reading.min_level_patients, progress)
    double = [str(name) for name in features.columns if name in frame.columns]
    if double:
        raise CohortError(
            f'the column "{double[0]}" would exist twice',
            where="cohort.events",
            next_step="Rename it in the table",
        )
    frame = pd.concat([frame.reset_index(drop=True), features], axis=1)
    frame, joined = reading.joined(frame)
    return reading.from_frame(
        frame, [*notes, *more, *joined], Path(root).name or "events", left_out=left_out
    )


def _features(
    files: Sequence[Path],
    windows: Windows,
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
    for events in shards(files, progress, "Reading events"):
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
    cells: pd.DataFrame, windows: Windows, max_codes: int, least_patients: int
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


def _timeless(events: pd.DataFrame, windows: Windows) -> dict[str, NDArray[np.object_]]:
    """Events without a time as columns: ``GENDER//F`` is F in the column GENDER."""
    if not len(events):
        return {}
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


def _age(births: pd.DataFrame, windows: Windows) -> dict[str, NDArray[np.float64]]:
    """Years from birth to the end of the window."""
    if not len(births):
        return {}
    born = births.groupby("subject_id")["time"].min().reindex(windows.subject)
    lived = windows.end - born.to_numpy().astype("datetime64[us]")
    return {AGE: np.floor(lived / YEAR)}

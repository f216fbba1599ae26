"""Folders of images to a cohort: with a table of paths, or from headers and folders alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auscult.cohort import Cohort, LeftOut
from auscult.errors import CohortError
from auscult.inputs import ArrayInputs
from auscult.progress import SILENT, Progress
from auscult.readers.decoding import DecodedFiles
from auscult.readers.images import ImageSettings, decode_images
from auscult.readers.paths import scan
from auscult.readers.tables import read_table, require_columns, texts

if TYPE_CHECKING:
    from auscult.readers.reading import Reading

FILE, FOLDER = "file", "folder"
NO_PATIENT = "no patient in the file's header"


def read_images(
    reading: Reading,
    root: str | os.PathLike[str],
    table: Any,  # noqa: ANN401
    *,
    path: str | None,
    settings: ImageSettings,
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Cohort:
    """Read a folder of images; see :meth:`auscult.Cohort.from_images`."""
    reading.refuse_input_columns()
    settings.check()
    keep: dict[str, Any] = {"cache": cache, "workers": workers, "progress": progress}
    if table is None:
        if path is not None:
            raise CohortError("path is a column of a table, and there is none", where="cohort.path")
        names, others = scan(root, "cohort.images")
        decoded = decode_images(names, root, settings, where="cohort.images", **keep)
        frame = pd.DataFrame(
            {
                FILE: names,
                FOLDER: [
                    PurePath(name).parts[0] if len(PurePath(name).parts) > 1 else None
                    for name in names
                ],
            }
        )
        notes = [f"files of other kinds, and links to folders, passed over: {others:,}"]
        notes = notes if others else []
        return _cohort(reading, frame, decoded, settings, notes, first=())
    frame = read_table(table)
    if path is None:
        raise CohortError(
            "images is a folder, and no column says which file a row describes",
            where="cohort.path",
            next_step='Name the column of paths relative to the folder: path = "file"',
        )
    require_columns(frame, [("cohort.path", path)], "table")
    # What the table alone can leave out is not decoded.
    first: tuple[LeftOut, ...] = ()
    if not settings.header:
        frame, notes = reading.joined(frame)
        reading.check_columns(frame)
        kept = reading.keep(frame)
        first, rows = kept.left_out, kept.rows
        reading = replace(reading, max_patients=None, join=None)
    else:
        notes, rows = [], np.arange(len(frame))
    frame = frame.iloc[rows].reset_index(drop=True)
    listed = texts(frame[path]).tolist()
    decoded = decode_images(listed, root, settings, where=f"column {path}", **keep)
    return _cohort(reading, frame, decoded, settings, notes, first=first, rows=rows)


def _cohort(
    reading: Reading,
    frame: pd.DataFrame,
    decoded: DecodedFiles,
    settings: ImageSettings,
    notes: list[str],
    *,
    first: tuple[LeftOut, ...],
    rows: Any = None,  # noqa: ANN401
) -> Cohort:
    """A cohort from what was decoded and the rows that describe the files."""
    for keyword in settings.header:
        if keyword in frame.columns:
            raise CohortError(f'the table has a column "{keyword}" already', where="cohort.header")
        frame[keyword] = pd.Series(decoded.header.get(keyword, [None] * len(frame)), dtype=object)
    left_out = [*first, *decoded.left_out]
    source = decoded.source
    if reading.patient in settings.header:
        known = np.array([v is not None for v in frame[reading.patient].tolist()])[source]
        if not known.all():
            left_out.append(LeftOut(NO_PATIENT, len(np.unique(source[~known]))))
        array_rows = np.flatnonzero(known)
    else:
        array_rows = np.arange(len(source))
    if not len(array_rows):
        raise CohortError(
            "no file says whose it is", where="cohort.patient", expected="a value in the header"
        )
    described = frame.iloc[source[array_rows]].reset_index(drop=True)
    described, more = reading.joined(described)
    shown = decoded.decoder.layout()[0]
    notes = [*notes, *more, *decoded.notes, _what(shown, settings)]
    settled = decoded.decoder
    channels = settled.channels() if isinstance(settled, ImageSettings) else "none"
    once = len(np.unique(source)) == len(source)
    record_rows = array_rows
    if once:
        record_rows = source[array_rows] if rows is None else rows[source[array_rows]]
    return reading.described(
        described,
        lambda kept: ArrayInputs(array=decoded.array, rows=array_rows[kept], channels=channels),
        record_rows=np.asarray(record_rows, dtype=np.int64),
        left_out=tuple(left_out),
        notes=notes,
    )


def _what(shape: Sequence[int], settings: ImageSettings) -> str:
    size = " x ".join(map(str, shape))
    text = f"images decoded to {size} bytes, {settings.fit}"
    if settings.slices is not None:
        text += f", slices {settings.slices}"
    return text

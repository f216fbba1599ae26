"""Folders of images or recordings to a cohort, with a table of paths or without."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auscult.base.errors import CohortError
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort, LeftOut
from auscult.cohort.inputs import ArrayInputs
from auscult.readers.decoding import DecodedFiles
from auscult.readers.images import ImageSettings, decode_images
from auscult.readers.paths import SHOWN, scan
from auscult.readers.signals import SignalSettings, decode_signals
from auscult.readers.tables import require_columns
from auscult.readers.values import texts

if TYPE_CHECKING:
    from auscult.readers.reading import Reading

FILE, FOLDER = "file", "folder"
NO_PATIENT = "no patient in the file's header"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What differs between folders of images and of recordings."""

    key: str
    suffixes: tuple[str, ...]
    decode: Callable[..., DecodedFiles]
    header: tuple[str, ...]
    what: Callable[[DecodedFiles], tuple[str, str]]


def read_folder(
    reading: Reading,
    root: str | os.PathLike[str],
    table: Any,  # noqa: ANN401
    *,
    path: str | None,
    settings: ImageSettings | SignalSettings,
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Cohort:
    """Read a folder of images or of recordings, as the settings say.

    See :meth:`auscult.Cohort.from_images` and :meth:`auscult.Cohort.from_signals`.

    Parameters
    ----------
    reading : Reading
    root : path-like
        The folder.
    table : path-like, dataframe or None
    path : str or None
        Column of the files' paths below `root`.
    settings : ImageSettings or SignalSettings
    cache : path-like, optional
        Where decoded arrays are kept; the user's cache folder when None.
    workers : int, optional
        Processes that decode; one per core when None.
    progress : Progress
    """
    settings.check()
    kind = _images(settings) if isinstance(settings, ImageSettings) else _recordings(settings)
    keep = {"cache": cache, "workers": workers, "progress": progress}
    return _read(reading, root, table, path, settings, kind, keep)


def _images(settings: ImageSettings) -> Kind:
    def what(decoded: DecodedFiles) -> tuple[str, str]:
        settled = decoded.decoder
        channels = settled.channels() if isinstance(settled, ImageSettings) else "none"
        size = " x ".join(map(str, decoded.array.shape[1:]))
        slices = f", slices {settings.slices}" if settings.slices is not None else ""
        return channels, f"images decoded to {size} bytes, {settings.fit}{slices}"

    return Kind(
        key="images", suffixes=SHOWN, decode=decode_images, header=settings.header, what=what
    )


def _recordings(settings: SignalSettings) -> Kind:
    def what(decoded: DecodedFiles) -> tuple[str, str]:
        _, leads, samples = decoded.array.shape
        said = f"{settings.seconds:g} s from {settings.start:g} s on, {settings.windows}"
        return "first", f"recordings read as {leads} leads of {samples} samples, {said}"

    return Kind(
        key="signals",
        suffixes=(".hea", ".npz", ".npy"),
        decode=decode_signals,
        header=(),
        what=what,
    )


def _read(
    reading: Reading,
    root: str | os.PathLike[str],
    table: Any,  # noqa: ANN401
    path: str | None,
    settings: Any,  # noqa: ANN401
    kind: Kind,
    keep: dict[str, Any],
) -> Cohort:
    reading.refuse_input_columns()
    if table is None:
        if path is not None:
            raise CohortError(
                "path is a column of a table, but there is no table", where="cohort.path"
            )
        names, others = scan(root, f"cohort.{kind.key}", kind.suffixes)
        decoded = kind.decode(names, root, settings, where=f"cohort.{kind.key}", **keep)
        folders = [PurePath(name).parts[0] if "/" in name else None for name in names]
        frame = pd.DataFrame({FILE: names, FOLDER: folders})
        notes = [f"files of other kinds, and links to folders, skipped: {others:,}"]
        return _cohort(reading, frame, decoded, kind, notes if others else [], first=())
    frame = reading.read(table)
    if path is None:
        raise CohortError(
            f"{kind.key} is a folder, but no column says which file a row describes",
            where="cohort.path",
            next_step='Name the column of paths relative to the folder: path = "file"',
        )
    require_columns(frame, [("cohort.path", path)], "table")
    # What the table alone can leave out is not decoded.
    first: tuple[LeftOut, ...] = ()
    if not kind.header:
        frame, notes = reading.joined(frame)
        reading.check_columns(frame)
        kept = reading.keep(frame)
        first, rows = kept.left_out, kept.rows
        reading = replace(reading, max_patients=None, join=None)
    else:
        notes, rows = [], np.arange(len(frame))
    frame = frame.iloc[rows].reset_index(drop=True)
    listed = texts(frame[path]).tolist()
    decoded = kind.decode(listed, root, settings, where=f"column {path}", **keep)
    return _cohort(reading, frame, decoded, kind, notes, first=first, rows=rows)


def _cohort(
    reading: Reading,
    frame: pd.DataFrame,
    decoded: DecodedFiles,
    kind: Kind,
    notes: list[str],
    *,
    first: tuple[LeftOut, ...],
    rows: Any = None,  # noqa: ANN401
) -> Cohort:
    """A cohort from what was decoded and the rows that describe the files."""
    for keyword in kind.header:
        if keyword in frame.columns:
            raise CohortError(f'the table has a column "{keyword}" already', where="cohort.header")
        frame[keyword] = pd.Series(decoded.header.get(keyword, [None] * len(frame)), dtype=object)
    left_out = [*first, *decoded.left_out]
    source = decoded.source
    if reading.patient in kind.header:
        known = np.array([v is not None for v in frame[reading.patient].tolist()])[source]
        if not known.all():
            left_out.append(LeftOut(NO_PATIENT, len(np.unique(source[~known]))))
        array_rows = np.flatnonzero(known)
    else:
        array_rows = np.arange(len(source))
    if not len(array_rows):
        raise CohortError(
            "no file names its patient", where="cohort.patient", expected="a value in the header"
        )
    described = frame.iloc[source[array_rows]].reset_index(drop=True)
    described, more = reading.joined(described)
    channels, what = kind.what(decoded)
    notes = [*notes, *more, *decoded.notes, what]
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

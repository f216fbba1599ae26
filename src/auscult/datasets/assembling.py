"""A dataset's folder to a cohort: the description makes a table, the readers do the rest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from auscult.base.errors import ConfigError, one_of
from auscult.base.plugins import guarded
from auscult.base.progress import SILENT, Progress
from auscult.cohort import Cohort
from auscult.cohort.inputs import ArrayInputs
from auscult.datasets.facts import Counts, Dataset, Source
from auscult.datasets.registry import DATASETS
from auscult.datasets.registry import dataset as named
from auscult.readers import Reading


def read_cohort(
    name: str,
    root: str | os.PathLike[str],
    *,
    label: str | None = None,
    image_size: int | Sequence[int] | None = None,
    max_patients: int | None = None,
    seed: int = 0,
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Cohort:
    """Read a public dataset from the folder that its owner's download made.

    Labels, groups and exclusions are the study's. What is left out is counted; where the numbers
    of records and patients differ from the published ones, a note says by how much.

    Parameters
    ----------
    name : str
        See ``auscult datasets list``.
    root : path-like
        No file of a record is read outside of it.
    label : str, optional
        Where the dataset has several.
    image_size : int or (height, width), optional
        Of images; the study's by default.
    max_patients : int, optional
        A random subset of so many patients.
    seed : int
        For the subset.
    cache : path-like, optional
        Folder for decoded files; AUSCULT_CACHE or the user's cache folder by default.
    workers : int, optional
        Processes that decode; only the speed.
    progress : Progress

    Raises
    ------
    ConfigError
        No such dataset or label, or a size where there are no images.
    CohortError
        The folder is not as its owner lays it out.

    Examples
    --------
    >>> read_cohort("ptb-xl", "ptb-xl-1.0.3/", max_patients=2000)  # doctest: +SKIP
    """
    return cohort_of(
        named(name),
        root,
        label=label,
        image_size=image_size,
        max_patients=max_patients,
        seed=seed,
        cache=cache,
        workers=workers,
        progress=progress,
    )


def cohort_of(
    chosen: Dataset,
    root: str | os.PathLike[str],
    *,
    label: str | None = None,
    image_size: int | Sequence[int] | None = None,
    max_patients: int | None = None,
    seed: int = 0,
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Cohort:
    """Read a dataset that need not be known by its name; see :func:`read_cohort`.

    Parameters
    ----------
    chosen : Dataset
    root : path-like
        The owner's folder.
    label, image_size, max_patients, seed, cache, workers, progress
        As for :func:`read_cohort`.
    """
    wanted = _label(chosen, label)
    origin = DATASETS.origin(chosen.name)
    with guarded("dataset", chosen.name, "reading its folder", origin):
        source = chosen.read(Path(root))
    if image_size is not None and source.kind not in ("images", "archives"):
        raise ConfigError(
            f"{chosen.title} has no images, so their size would be ignored",
            where="cohort.image_size",
            next_step="Leave it out",
        )
    meaning: dict[str, Any] = {**source.reading, **wanted}
    reading = Reading(**meaning, max_patients=max_patients, seed=seed, source=chosen.title)
    height, width = _size(image_size if image_size is not None else chosen.image_size)
    how: dict[str, Any] = {"cache": cache, "workers": workers, "progress": progress}
    if source.kind == "table":
        cohort = reading.table(source.table)
    elif source.kind == "archives":
        cohort = _archives(reading, source, (height, width), how)
    else:
        cohort = _files(reading, source, (height, width), how)
    return replace(
        cohort,
        record_rows=source.rows[cohort.record_rows],
        left_out=(*source.left_out, *cohort.left_out),
        notes=(
            *_compared(chosen, source, cohort),
            *source.notes,
            *cohort.notes,
            *([] if origin is None else [f"{chosen.title} read by {origin}"]),
        ),
        source=chosen.title,
    )


def _label(chosen: Dataset, label: str | None) -> dict[str, str]:
    if label is None:
        return {}
    if not chosen.labels:
        raise ConfigError(
            f"{chosen.title} has one label only, so a choice would be ignored",
            where="cohort.label",
            next_step="Leave it out",
        )
    if label not in chosen.labels:
        raise ConfigError(
            f'"{label}" is not a label of {chosen.title}',
            where="cohort.label",
            expected=one_of(label, chosen.labels),
        )
    return {"label": label}


def _size(size: int | Sequence[int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2:
        raise ConfigError(
            f"{len(pair)} numbers are not a valid size",
            where="cohort.image_size",
            expected="one or two",
        )
    return pair


def _files(reading: Reading, source: Source, size: tuple[int, int], how: dict[str, Any]) -> Cohort:
    from auscult.readers.folders import read_folder
    from auscult.readers.images import ImageSettings
    from auscult.readers.signals import SignalSettings

    images = source.kind == "images"
    return read_folder(
        reading,
        source.root,
        source.table,
        path=source.files,
        settings=ImageSettings(size=size) if images else SignalSettings(**source.signals),
        **how,
    )


def _archives(
    reading: Reading, source: Source, size: tuple[int, int], how: dict[str, Any]
) -> Cohort:
    """One array of each npz; what the table alone leaves out is not decoded."""
    from auscult.datasets.archives import ArchiveSettings
    from auscult.readers.decoding import decode_files
    from auscult.readers.paths import locate

    reading.check_columns(source.table)
    kept = reading.keep(source.table)
    frame = source.table.iloc[kept.rows].reset_index(drop=True)
    where = f"column {source.files}"
    decoded = decode_files(
        locate(source.root, frame[source.files].tolist(), where),
        ArchiveSettings(key=source.key, size=size),
        where=where,
        **how,
    )
    return replace(reading, max_patients=None).described(
        frame.iloc[decoded.source].reset_index(drop=True),
        lambda rows: ArrayInputs(array=decoded.array, rows=rows, channels="none"),
        record_rows=kept.rows[decoded.source],
        left_out=(*kept.left_out, *decoded.left_out),
        notes=[f"{source.key} of each file, resized to {size[0]} x {size[1]}"],
    )


def _compared(chosen: Dataset, source: Source, cohort: Cohort) -> list[str]:
    """Notes on numbers that are not the published ones."""
    notes = []
    if _differs(source.found, chosen.published):
        notes.append(
            f"the folder lists {source.found.text()}, where the owner publishes "
            f"{chosen.published.text()}"
        )
    subset = any("max_patients" in one.reason for one in cohort.left_out)
    here = Counts(records=cohort.records, patients=cohort.patients)
    if chosen.studied is not None and not subset and _differs(here, chosen.studied):
        notes.append(f"the cohort has {here.text()}, where the study had {chosen.studied.text()}")
    return notes


def _differs(found: Counts, told: Counts) -> bool:
    return found.records != told.records or (
        None not in (found.patients, told.patients) and found.patients != told.patients
    )

"""Checks of datasets, on a small folder in the layout of the dataset's owner."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from auscult.base.errors import AuscultError
from auscult.datasets.assembling import cohort_of
from auscult.datasets.facts import Dataset, Source
from auscult.datasets.registry import dataset as named
from auscult.testing.failing import CheckError, Subject

KINDS = ("table", "images", "archives", "signals")


def check_dataset(dataset: Dataset | str, root: str | Path) -> None:
    """Check a dataset on a small folder that is laid out as its owner lays it out.

    Every record of the owner's table is kept or counted as left out; patients, labels and groups
    are columns, and nobody is without a patient; files lie inside the folder; reading changes
    nothing and gives the same every time; a cohort can be made of it with each of its labels; and a
    folder that is something else is refused.

    Parameters
    ----------
    dataset : Dataset or str
        Or its name.
    root : path-like
        The folder; a few records of a few patients do.

    Raises
    ------
    CheckError
        Names the first property that does not hold.
    """
    if isinstance(dataset, str):
        dataset = named(dataset, "check_dataset")
    subject = Subject("dataset", dataset.name)
    folder = Path(root)
    before = _listing(folder)
    with subject.doing("reading the folder"):
        source = dataset.read(folder)
        again = dataset.read(folder)
    subject.need(isinstance(source, Source), f"read returns {type(source).__name__}, not a Source")
    subject.need(_listing(folder) == before, "reading changes the folder")
    subject.need(
        source.table.equals(again.table) and np.array_equal(source.rows, again.rows),
        "it returns a different table every time",
    )
    _check_source(subject, dataset, source, folder)
    for label in (None, *dataset.labels):
        with (
            tempfile.TemporaryDirectory() as cache,
            subject.doing(f"making a cohort with the label {label or 'by default'}"),
        ):
            cohort = cohort_of(dataset, folder, label=label, cache=cache, workers=1)
        found = source.found.records
        left = sum(one.records for one in cohort.left_out)
        subject.need(
            cohort.records + left == found or source.kind == "signals",
            f"{cohort.records} records of the cohort and {left} that are left out are not the "
            f"{found} of the owner's table",
        )
    with tempfile.TemporaryDirectory() as empty:
        try:
            dataset.read(Path(empty))
        except AuscultError:
            return
        except Exception as error:
            raise CheckError(
                f'dataset "{dataset.name}": for an empty folder it raises {type(error).__name__} '
                "instead of a CohortError"
            ) from error
    raise CheckError(f'dataset "{dataset.name}": it reads an empty folder without an error')


def _check_source(subject: Subject, dataset: Dataset, source: Source, root: Path) -> None:
    table, rows = source.table, np.asarray(source.rows)
    subject.need(
        source.kind in KINDS, (f'"{source.kind}" is not a kind of inputs: {", ".join(KINDS)}')
    )
    subject.need(
        rows.shape == (len(table),), f"{len(rows)} rows are named for {len(table)} records"
    )
    subject.need(len(np.unique(rows)) == len(rows), "a row of the owner's table is listed twice")
    subject.need(
        not len(rows) or (rows.min() >= 0 and rows.max() < source.found.records),
        "its rows are not rows of the owner's table",
    )
    left = sum(one.records for one in source.left_out)
    subject.need(
        len(table) + left == source.found.records,
        f"{len(table)} records and {left} that are left out are not the {source.found.records} of "
        "the owner's table: what is dropped must be counted",
    )
    reading = dict(source.reading)
    patient = reading.get("patient")
    subject.need(isinstance(patient, str) and patient in table, "reading names no patient column")
    subject.need(not table[patient].isna().any(), "some records have no patient")
    groups = list(reading.get("groups", ()))
    subject.need(
        groups == list(dataset.groups),
        f"it says that its groups are {list(dataset.groups)} and reads {groups}",
    )
    columns = [*groups, *dataset.labels, *([source.files] if source.files else [])]
    missing = [name for name in columns if name not in table]
    subject.need(not missing, f"its table has no column {', '.join(missing)}")
    if source.kind != "table":
        subject.need(source.files, f'for "{source.kind}" it must say which column holds the files')
        outside = [
            path
            for path in table[source.files].astype(str)
            if not (source.root / path).resolve().is_relative_to(root.resolve())
        ]
        subject.need(not outside, f"{len(outside)} files lie outside the folder")


def _listing(root: Path) -> list[tuple[str, str]]:
    return sorted(
        (str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*")
        if path.is_file()
    )

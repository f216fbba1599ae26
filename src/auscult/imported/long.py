"""Scores in one long table: a row for each model and record, as R and spreadsheets hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.imported.declared import Declared
from auscult.imported.scores import Scores, from_arrays
from auscult.readers.header import columns_listed
from auscult.readers.tables import read_table
from auscult.readers.values import numbers, texts

ONE = {"signal": "signals", "loss": "losses", "probability": "probabilities", "logit": "logits"}
SEVERAL = ("probability", "logit")
KEYS = ("model", "record", "patient", "member", "label")
YES, NO = ("1", "true", "t", "yes"), ("0", "false", "f", "no")
EXPECTED = (
    "columns model, patient, member (0 and 1, or TRUE and FALSE) and one of signal, loss, "
    "probability or logit, or probability.CLASS and logit.CLASS for each class; where patients "
    "have several records, record; with probabilities and logits, label"
)


def read_long(path: Path, declared: Declared | None = None) -> Scores:
    """Read a table with one row for each model and record.

    Parameters
    ----------
    path : Path
        CSV, Parquet or another table. ``model``, ``record`` (the patient where absent),
        ``patient``, ``member``, ``label``, and ``signal``, ``loss``, ``probability`` or ``logit``
        (of class 1), or one ``probability.CLASS`` or ``logit.CLASS`` per class. Other columns are
        groups of patients.
    declared : Declared, optional

    Raises
    ------
    CohortError
        Columns are missing; a pair of model and record is missing or there twice; a record's
        patient, label or group changes from model to model; or values leave two readings.
    """
    frame = read_table(path)
    where = path.name
    declared = declared or Declared()
    names = [str(name) for name in frame.columns]
    said, columns = _values(names, where)
    missing = [name for name in ("model", "patient", "member") if name not in names]
    if missing:
        raise CohortError(
            f"there is no column {', '.join(missing)}",
            where=where,
            expected=f"{EXPECTED}; {columns_listed(missing[0], names)}",
        )
    models, _ = _codes(frame, "model", where)
    key = "record" if "record" in names else "patient"
    records, _ = _codes(frame, key, where)
    count, width = int(models.max()) + 1, int(records.max()) + 1
    cell = models * width + records
    seen = np.bincount(cell, minlength=count * width)
    twice, absent = int((seen > 1).sum()), int((seen == 0).sum())
    if twice:
        raise CohortError(
            f"{twice:,} pairs of model and {key} occur more than once",
            where=where,
            expected="one row for each model and record",
            next_step=""
            if key == "record"
            else "Where patients have several records, number them in a column record",
        )
    if absent:
        raise CohortError(
            f"{absent:,} of {count * width:,} pairs of model and {key} are missing",
            where=where,
            expected="a row for every record in every model, members and others",
            next_step=(
                "Let each model answer on all records, including those that it was not trained on"
            ),
        )
    order = np.argsort(cell)

    def matrix(values: NDArray[Any]) -> NDArray[Any]:
        return values[order].reshape(count, width)

    def of_record(name: str) -> NDArray[np.str_]:
        words = matrix(np.array([one or "" for one in texts(frame[name])], dtype=str))
        changed = int((words != words[0]).any(axis=0).sum())
        if changed:
            raise CohortError(
                f"{changed:,} records have more than one {name}",
                where=where,
                expected="the same in the rows of all models",
            )
        return np.asarray(words[0])

    values = np.stack([matrix(_numbers(frame[name], name, where)) for name in columns], axis=2)
    arrays: dict[str, NDArray[Any]] = {
        ONE[said]: values[:, :, 0] if said in ("signal", "loss") else values,
        "membership": matrix(_yes(frame["member"], where)),
        "patient": of_record("patient"),
    }
    if "label" in names:
        labels, declared = _labels(of_record("label"), said, columns, declared, where)
        arrays["labels"] = labels
    for name in names:
        if name not in KEYS and name not in columns:
            if name in ("signals", "losses", "probabilities", "logits", "labels", "classes"):
                raise CohortError(f"a column is named {name}", where=where, expected=EXPECTED)
            arrays[name] = of_record(name)
    return from_arrays(arrays, where, declared)


def _values(names: Sequence[str], where: str) -> tuple[str, list[str]]:
    """Which kind of values the table holds, and their columns."""
    found = {name: [name] for name in ONE if name in names}
    for name in SEVERAL:
        several = [one for one in names if one.startswith((f"{name}.", f"{name}_"))]
        if several:
            found[f"{name}."] = several
    if len(found) != 1:
        raise CohortError(
            f"there are {' and '.join(found)}"
            if found
            else "there is no column of signals or outputs",
            where=where,
            expected=f"one kind of values: {EXPECTED}",
        )
    ((said, columns),) = found.items()
    return said.removesuffix("."), columns


def _codes(frame: pd.DataFrame, name: str, where: str) -> tuple[NDArray[np.int64], int]:
    words = texts(frame[name])
    codes, found = pd.factorize(np.asarray(words, dtype=object))
    empty = int((codes < 0).sum())
    if empty:
        raise CohortError(f"{empty:,} rows have no {name}", where=where, expected="all of them")
    return codes.astype(np.int64), len(found)


def _numbers(column: pd.Series[Any], name: str, where: str) -> NDArray[np.float64]:
    values, unparsable = numbers(column)
    if unparsable:
        raise CohortError(
            f"{unparsable:,} values of {name} are not numbers", where=where, expected="numbers"
        )
    return values


def _yes(column: pd.Series[Any], where: str) -> NDArray[np.bool_]:
    words = [(one or "").lower() for one in texts(column)]
    unknown = sum(one not in YES and one not in NO for one in words)
    if unknown:
        raise CohortError(
            f"{unknown:,} values of member are neither yes nor no",
            where=where,
            expected="1 and 0, or TRUE and FALSE",
        )
    return np.array([one in YES for one in words])


def _labels(
    words: NDArray[np.str_], said: str, columns: Sequence[str], declared: Declared, where: str
) -> tuple[NDArray[Any], Declared]:
    """Labels as numbers or as names with their classes."""
    empty = int((words == "").sum())
    if empty:
        raise CohortError(f"{empty:,} records have no label", where=where, expected="all of them")
    found = sorted(set(words.tolist()))
    if columns[0] != said:  # the columns name the classes
        classes = [name[len(said) + 1 :] for name in columns]
        if len(classes) == 1 and len(found) == 2 and classes[0] in found:
            classes = [next(one for one in found if one != classes[0]), classes[0]]
        return words, replace(declared, classes=tuple(classes))
    if said in ("signal", "loss"):  # labels only say whom to compare a record with
        return words, replace(declared, classes=tuple(found))
    if not set(found) <= {"0", "1"}:
        raise CohortError(
            f"labels are {len(found)} values, and {said} does not say of which it is",
            where=where,
            expected="labels 0 and 1, where it is the probability of 1",
            next_step=f"Name the class in the column name: {said}.CLASS",
        )
    return words.astype(np.int64), declared

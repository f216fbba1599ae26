"""The arrays of scores made elsewhere, each read and checked by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.base.opening import npy_array, npz_arrays, refuse_too_large
from auscult.cohort.design import MINIMUM_PATIENTS, Membership
from auscult.readers.doubts import EXACT
from auscult.readers.groups import MOST_UNBINNED
from auscult.readers.values import written

FEWEST_MODELS = 8


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an npz; nothing is unpacked before its size is known."""
    return npz_arrays(path, path.name, CohortError)


def load_npy(path: Path) -> NDArray[Any]:
    """The array of an npy."""
    where = f"{path.parent.name}/{path.name}"
    array = npy_array(path, where, CohortError)
    refuse_too_large(array.nbytes, where, CohortError)
    return np.array(array)


def read_patients(values: NDArray[Any], where: str) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Index of each record's patient, and the patients in order of first appearance."""
    if values.ndim != 1:
        raise CohortError(
            f"patient has shape {values.shape}", where=where, expected="one value per record"
        )
    lost = int((np.abs(values) > EXACT).sum()) if values.dtype.kind == "f" else 0
    if lost:
        raise CohortError(
            f"{lost} patients are floats beyond 9,007,199,254,740,992, whose last digits are lost",
            where=where,
            expected="texts or integers",
            next_step="Save the array patient as text, before it becomes floats",
        )
    names = np.array([_word(v) for v in values.tolist()])
    empty = int((names == "").sum())
    if empty:
        raise CohortError(
            f"{empty} of {len(names)} records have no patient", where=where, expected="all of them"
        )
    codes, unique = pd.factorize(names)
    if len(unique) < MINIMUM_PATIENTS:
        raise CohortError(
            f"there are {len(unique)} patients",
            where=where,
            expected=f"at least {MINIMUM_PATIENTS}",
        )
    return codes.astype(np.int64), np.asarray(unique, dtype=str)


def _word(value: Any) -> str:  # noqa: ANN401
    """One value as text; nothing where it is missing."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return "" if pd.isna(value) else written(value)


def groups_in_words(
    columns: Mapping[str, NDArray[Any]],
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Groups as texts, nothing where missing, and notes of numbers that nobody binned."""
    found = {name: np.array([_word(v) for v in a.tolist()]) for name, a in columns.items()}
    return found, [
        f"array {name} holds {count} different numbers, each a group of its own: bin it first "
        "(numpy.digitize)"
        for name, array in columns.items()
        if array.dtype.kind in "iuf" and (count := len(np.unique(array))) > MOST_UNBINNED
    ]


def numbers(
    values: NDArray[Any], dimensions: int, where: str, name: str, axes: str = ""
) -> NDArray[np.float32]:
    """32-bit floats of so many dimensions, all finite.

    Parameters
    ----------
    values : array
    dimensions : int
    where : str
        Name of the file, for messages.
    name : str
        Name of the array, for messages.
    axes : str
        What the dimensions are; models, records and classes when empty.
    """
    if values.ndim != dimensions or values.dtype.kind not in "fiu" or not values.size:
        raise CohortError(
            f"{name} are {values.dtype} of shape {values.shape}",
            where=where,
            expected=f"numbers in {dimensions} dimensions: "
            + (axes or ("(models, records, classes)" if dimensions == 3 else "(models, records)")),
        )
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    broken = int((~np.isfinite(found)).sum())
    if broken:
        raise CohortError(
            f"{broken} {name} are NaN, infinite or beyond 32-bit floats",
            where=where,
            expected="finite numbers",
        )
    return found


def check_records(values: NDArray[np.float32], records: int, where: str) -> None:
    """Refuse outputs of other records than the patients', or of too few models.

    Parameters
    ----------
    values : float32 array, shape (models, queries, records, columns)
    records : int
        Of the patients.
    where : str
        Name of the file and the array, for messages.
    """
    if values.shape[2] != records:
        raise CohortError(
            f"outputs for {values.shape[2]} records, but patients for {records}", where=where
        )
    if values.shape[0] < FEWEST_MODELS:
        raise CohortError(
            f"there are {values.shape[0]} models", where=where, expected=f"at least {FEWEST_MODELS}"
        )


def read_membership(
    values: NDArray[Any],
    models: int,
    of_record: NDArray[np.int64],
    patients: int,
    where: str,
) -> Membership:
    """Membership per patient, from one that is per patient or per record.

    Parameters
    ----------
    values : array, shape (models, patients) or (models, records)
    models : int
    of_record : int64 array, shape (records,)
        Each record's patient.
    patients : int
    where : str
        Name of the file, for messages.
    """
    records = len(of_record)
    matrix = np.asarray(values)
    if matrix.dtype.kind in "iuf" and matrix.size and np.isin(matrix, (0, 1)).all():
        matrix = matrix.astype(bool)
    if matrix.dtype != np.bool_ or matrix.ndim != 2 or matrix.shape[0] != models:
        raise CohortError(
            f"membership is {matrix.dtype} of shape {matrix.shape}",
            where=where,
            expected=f"bool of shape ({models}, {patients} patients) or ({models}, {records} "
            "records), True for members",
            next_step="Lists of the members' numbers become a matrix: matrix[model, members] = True"
            if matrix.dtype.kind in "iu" and not np.isin(matrix, (-1, 1)).all()
            else "-1 and 1 become (membership > 0)"
            if matrix.dtype.kind in "iuf"
            else "",
        )
    if matrix.shape[1] == patients:
        return Membership(np.ascontiguousarray(matrix))
    if matrix.shape[1] != records:
        raise CohortError(
            f"membership refers to {matrix.shape[1]}",
            where=where,
            expected=f"{patients} patients or {records} records",
        )
    first = np.full(patients, records)
    np.minimum.at(first, of_record, np.arange(records))
    per_patient = matrix[:, first]
    split = (per_patient[:, of_record] != matrix).any(axis=0)
    if split.any():
        broken = len(np.unique(of_record[split]))
        raise CohortError(
            f"{broken} patients have records on both sides of a model",
            where=where,
            expected="all records of a patient IN or all OUT",
            next_step="Membership of single records says nothing about patients; train on subsets "
            "of patients",
        )
    return Membership(np.ascontiguousarray(per_patient))

"""Scores made elsewhere, read and checked: nothing about them is believed.

Two forms are read: one npz (signals or logits, membership, patient) and a folder with one folder
per model, as the study's code writes them. No pickle is read, every shape is checked, and a
membership that splits a patient's records is refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.cohort import PatientIds, group_of_patients
from auscult.design import MINIMUM_PATIENTS, Membership
from auscult.errors import CohortError, one_of
from auscult.recipes.base import OutputKind

RESERVED = ("signals", "logits", "membership", "patient", "labels")
MODEL_FILES = ("train_logits.npy", "train_labels.npy", "subset_mask.npy")
FEWEST_MODELS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Outputs made elsewhere, checked.

    Attributes
    ----------
    values : float32 array, shape (models, queries, records, columns)
    kind : {"signal", "sigmoid", "softmax", "multilabel"}
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    patient_ids : PatientIds
    groups : DataFrame, shape (patients, attributes)
    labels : int64 array or None
    source : str
    notes : tuple of str
    """

    values: NDArray[np.float32]
    kind: OutputKind
    membership: Membership
    patient_of_record: NDArray[np.int64]
    patient_ids: PatientIds
    groups: pd.DataFrame
    labels: NDArray[np.int64] | None
    source: str
    notes: tuple[str, ...] = ()


def read_npz(path: Path) -> Scores:
    """Read ``scores.npz``.

    Raises
    ------
    CohortError
        It is missing, damaged, holds Python objects, or its arrays do not fit together.
    """
    arrays = _load_npz(path)
    where = path.name
    missing = [name for name in ("membership", "patient") if name not in arrays]
    if not {"signals", "logits"} & set(arrays):
        missing.insert(0, "signals or logits")
    if missing:
        raise CohortError(
            f"there is no array {', '.join(missing)}",
            where=where,
            expected="signals (models, records) or logits (models, records, classes), membership "
            f"(models, patients or records) and patient (records,); {one_of('', arrays)}",
        )
    if {"signals", "logits"} <= set(arrays):
        raise CohortError("there are both signals and logits", where=where, expected="one of them")
    of_record, ids = _patients(arrays["patient"], where)
    records = len(of_record)
    labels = None
    if "logits" in arrays:
        if "labels" not in arrays:
            raise CohortError("logits need labels", where=where, expected="an array labels")
        labels = _labels(arrays["labels"], where)
        values, kind = _logits(arrays["logits"], labels, where)
    else:
        values, kind = _numbers(arrays["signals"], 2, where, "signals")[:, None, :, None], "signal"
        if "labels" in arrays:
            labels = _labels(arrays["labels"], where)
    _check_records(values, records, where)
    if labels is not None and len(labels) != records:
        raise CohortError(f"{len(labels)} labels for {records} records", where=where)
    columns, ignored = {}, []
    for name, array in arrays.items():
        if name in RESERVED:
            continue
        if array.ndim == 1 and len(array) == records:
            columns[name] = array.astype(str)
        else:
            ignored.append(name)
    notes = [f"array {name} was not used: it is not one value per record" for name in ignored]
    return Scores(
        values=values,
        kind=kind,
        membership=_membership(arrays["membership"], values.shape[0], of_record, len(ids), where),
        patient_of_record=of_record,
        patient_ids=PatientIds(ids),
        groups=_groups(columns, of_record, len(ids)),
        labels=labels,
        source=path.name,
        notes=tuple(notes),
    )


def read_model_folders(
    path: Path,
    table: pd.DataFrame | None = None,
    patient: str | None = None,
    groups: Sequence[str] = (),
) -> Scores:
    """Read a folder that holds one folder per model.

    Each has ``train_logits.npy`` (records, classes) or (records, queries, classes),
    ``train_labels.npy`` (records,) and ``subset_mask.npy``: one bool per unique patient, in order
    of first appearance.

    Parameters
    ----------
    path : Path
    table : DataFrame of str, optional
        Row i describes record i. Without it every record is a patient of its own, which is refused
        unless the masks have as many entries as there are records.
    patient : str, optional
        Column of `table`.
    groups : sequence of str
        Columns of `table`.

    Raises
    ------
    CohortError
        A file is missing or does not fit the others.
    """
    folders = sorted(f for f in path.iterdir() if f.is_dir() and (f / MODEL_FILES[0]).exists())
    if not folders:
        raise CohortError(
            "there is no folder of a model",
            where=str(path),
            expected=f"folders with {', '.join(MODEL_FILES)}",
        )
    labels: NDArray[np.int64] | None = None
    outputs, masks = [], []
    for folder in folders:
        logits, own_labels, mask = (_load_npy(folder / name) for name in MODEL_FILES)
        own = _labels(own_labels, folder.name)
        if labels is None:
            labels = own
        elif not np.array_equal(labels, own):
            raise CohortError(
                "its labels differ from those of the models before it",
                where=f"{folder.name}/{MODEL_FILES[1]}",
                expected="all records in the same order for every model",
            )
        outputs.append(logits if logits.ndim == 3 else logits[:, None])
        masks.append(mask)
        for name, array, first in (
            (MODEL_FILES[0], outputs[-1], outputs[0]),
            (MODEL_FILES[2], mask, masks[0]),
        ):
            if array.shape != first.shape:
                raise CohortError(
                    f"it has shape {array.shape}",
                    where=f"{folder.name}/{name}",
                    expected=f"{first.shape}, as in {folders[0].name}",
                )
    if labels is None:
        raise CohortError("there is no model", where=str(path))
    stacked = np.stack(outputs).transpose(0, 2, 1, 3)
    models, queries, records, classes = stacked.shape
    flat = stacked.reshape(models * queries, records, classes)
    values, kind = _logits(flat, labels, path.name)
    values = values.reshape(models, queries, records, -1)
    _check_records(values, len(labels), path.name)
    columns: dict[str, NDArray[np.str_]] = {}
    notes: tuple[str, ...] = ()
    if table is None:
        if np.asarray(masks[0]).size != records:
            raise CohortError(
                f"the masks speak of {np.asarray(masks[0]).size} patients and there are {records} "
                "records",
                where=path.name,
                next_step="Say whose records they are: --table metadata.csv --patient COLUMN",
            )
        of_record, ids = np.arange(records), np.arange(records).astype(str)
        notes = ("no patient was given for the records: each counts as a patient of its own",)
    else:
        if len(table) != records:
            raise CohortError(
                f"the table has {len(table)} rows and there are {records} records",
                where="table",
                expected="row i describes record i",
            )
        for name in (str(patient), *groups):
            if name not in table.columns:
                raise CohortError(
                    f'there is no column "{name}"',
                    where="table",
                    expected=one_of(name, map(str, table.columns)),
                )
        of_record, ids = _patients(table[str(patient)].to_numpy(), "table")
        columns = {name: np.array(table[name].fillna("").tolist(), dtype=str) for name in groups}
    return Scores(
        values=values,
        kind=kind,
        membership=_membership(np.stack(masks), models, of_record, len(ids), path.name),
        patient_of_record=of_record,
        patient_ids=PatientIds(ids),
        groups=_groups(columns, of_record, len(ids)),
        labels=labels,
        source=path.name,
        notes=notes,
    )


def _load_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as content:
            if not isinstance(content, Mapping):
                raise CohortError("it is no npz", where=path.name, expected="an npz of arrays")
            return {name: content[name] for name in content}
    except FileNotFoundError as error:
        raise CohortError("there is no such file", where=str(path)) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CohortError(
            "it cannot be read",
            where=path.name,
            expected="an npz of plain arrays; Python objects are never read",
        ) from error


def _load_npy(path: Path) -> NDArray[Any]:
    where = f"{path.parent.name}/{path.name}"
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise CohortError("there is no such file", where=where) from error
    except (OSError, ValueError, EOFError) as error:
        raise CohortError(
            "it cannot be read",
            where=where,
            expected="an npy of a plain array; Python objects are never read",
        ) from error
    if not isinstance(array, np.ndarray):
        raise CohortError("it is no npy", where=where)
    return array


def _patients(values: NDArray[Any], where: str) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Index of each record's patient, and the patients in order of first appearance."""
    if values.ndim != 1:
        raise CohortError(
            f"patient has shape {values.shape}", where=where, expected="one value per record"
        )
    names = np.array(["" if pd.isna(v) else str(v).strip() for v in values.tolist()])
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


def _labels(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    labels = np.squeeze(values) if values.ndim == 2 and values.shape[1] == 1 else values
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "biuf":
        raise CohortError(
            f"labels are {labels.dtype} of shape {labels.shape}",
            where=where,
            expected="class indices (records,) or 0 and 1 (records, labels)",
        )
    whole = np.asarray(labels, dtype=np.float64)
    if not np.isfinite(whole).all() or (whole != np.round(whole)).any() or whole.min(initial=0) < 0:
        raise CohortError("labels that are no class indices", where=where, expected="0, 1, 2, ...")
    return labels.astype(np.int64)


def _logits(
    values: NDArray[Any], labels: NDArray[np.int64], where: str
) -> tuple[NDArray[np.float32], OutputKind]:
    logits = _numbers(values, 3, where, "logits")
    columns = logits.shape[2]
    if labels.ndim == 2:
        kind: OutputKind = "multilabel"
        fits = labels.shape[1] == columns and labels.max() <= 1
    elif columns == 1:
        kind, fits = "sigmoid", labels.max() <= 1
    else:
        kind, fits = "softmax", labels.max() < columns
    if not fits:
        raise CohortError(
            f"labels up to {labels.max()} of shape {labels.shape} do not fit {columns} logits",
            where=where,
            expected="one column per class (or one for two classes, or one per label)",
        )
    return logits[:, None], kind


def _numbers(values: NDArray[Any], dimensions: int, where: str, name: str) -> NDArray[np.float32]:
    if values.ndim != dimensions or values.dtype.kind not in "fiu":
        raise CohortError(
            f"{name} are {values.dtype} of shape {values.shape}",
            where=where,
            expected=f"numbers in {dimensions} dimensions: (models, records"
            + (", classes)" if dimensions == 3 else ")"),
        )
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    broken = int((~np.isfinite(numbers)).sum())
    if broken:
        raise CohortError(
            f"{broken} {name} are NaN, infinite or beyond 32-bit floats",
            where=where,
            expected="finite numbers",
        )
    return numbers


def _check_records(values: NDArray[np.float32], records: int, where: str) -> None:
    if values.shape[2] != records:
        raise CohortError(
            f"outputs for {values.shape[2]} records and patients of {records}", where=where
        )
    if values.shape[0] < FEWEST_MODELS:
        raise CohortError(
            f"there are {values.shape[0]} models", where=where, expected=f"at least {FEWEST_MODELS}"
        )


def _membership(
    values: NDArray[Any],
    models: int,
    of_record: NDArray[np.int64],
    patients: int,
    where: str,
) -> Membership:
    """Membership per patient, from one that is per patient or per record."""
    records = len(of_record)
    matrix = np.asarray(values)
    if matrix.dtype.kind in "iu" and np.isin(matrix, (0, 1)).all():
        matrix = matrix.astype(bool)
    if matrix.dtype != np.bool_ or matrix.ndim != 2 or matrix.shape[0] != models:
        raise CohortError(
            f"membership is {matrix.dtype} of shape {matrix.shape}",
            where=where,
            expected=f"bool of shape ({models}, {patients} patients) or ({models}, {records} "
            "records)",
        )
    if matrix.shape[1] == patients:
        return Membership(np.ascontiguousarray(matrix))
    if matrix.shape[1] != records:
        raise CohortError(
            f"membership speaks of {matrix.shape[1]}",
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


def _groups(
    columns: Mapping[str, NDArray[Any]], of_record: NDArray[np.int64], patients: int
) -> pd.DataFrame:
    found = {
        name: group_of_patients([str(v).strip() for v in values], of_record, patients)
        for name, values in columns.items()
    }
    return pd.DataFrame(found, index=pd.RangeIndex(patients))

"""Scores made elsewhere, read and checked: nothing about them is believed.

Two forms are read: one npz (signals or outputs, membership, patient) and a folder with one folder
per model, as the study's code writes them. No pickle is read, every shape is checked, a membership
that splits a patient's records is refused, and what numbers mean is declared or proved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.log_odds import log_odds_of_truth
from auscult.base.errors import CohortError, one_of
from auscult.cohort import PatientIds
from auscult.cohort.cohort import group_of_patients
from auscult.cohort.design import Membership
from auscult.imported.declared import Declared
from auscult.imported.multihot import softmax_of_several
from auscult.imported.parts import (
    check_records,
    groups_in_words,
    load_npy,
    load_npz,
    numbers,
    read_membership,
    read_patients,
)
from auscult.imported.proofs import (
    check_direction,
    check_models,
    check_order,
    check_patients_order,
    fit_of_labels,
)
from auscult.imported.scales import meaning_of_outputs, read_outputs, read_signals
from auscult.imported.truth import read_labels, words
from auscult.readers.header import columns_listed
from auscult.recipes.base import OutputKind
from auscult.recipes.evidence import one_in_each_row, total_of_rows

SIGNALS, OUTPUTS = ("signals", "losses"), ("logits", "probabilities")
DECLARED = ("signals_are", "outputs_are", "labels_are")
RESERVED = (*SIGNALS, *OUTPUTS, *DECLARED, "membership", "patient", "labels", "classes")
MODEL_FILES = ("train_logits.npy", "train_labels.npy", "subset_mask.npy")
NO_LABELS = (
    "no labels were given: records are compared with all others instead of those of their class, "
    "which usually finds fewer exposed patients; add an array labels"
)


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
    features : float32 array, shape (records, columns), optional
        What the models read of each record, or an embedding of it: records nearby are controls.
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
    features: NDArray[np.float32] | None = None


def read_npz(path: Path, declared: Declared | None = None) -> Scores:
    """Read ``scores.npz``.

    Parameters
    ----------
    path : Path
        ``signals`` or ``losses`` (models, records), or ``logits`` or ``probabilities`` (models,
        records, classes); ``membership``, ``patient``; ``labels``, ``classes``; ``signals_are``,
        ``outputs_are`` and ``labels_are`` as texts; ``features`` (records, columns).
    declared : Declared, optional
        Takes precedence over the file.

    Raises
    ------
    CohortError
        It is missing, damaged or contains Python objects, its arrays do not match, or its values
        are ambiguous.
    """
    return from_arrays(load_npz(path), path.name, declared)


def from_arrays(
    arrays: Mapping[str, NDArray[Any]], where: str, declared: Declared | None = None
) -> Scores:
    """Check arrays by their names, as :func:`read_npz` does.

    Parameters
    ----------
    arrays : mapping of str to array
    where : str
        Name of the file or folder that they are from.
    declared : Declared, optional

    Raises
    ------
    CohortError
        They do not fit together, or their values leave two readings.
    """
    missing = [name for name in ("membership", "patient") if name not in arrays]
    given = [name for name in (*SIGNALS, *OUTPUTS) if name in arrays]
    if not given:
        missing.insert(0, "signals or logits")
    if missing:
        raise CohortError(
            f"there is no array {', '.join(missing)}",
            where=where,
            expected="signals or losses (models, records), or logits or probabilities (models, "
            "records, classes); membership (models, patients or records) and patient (records,); "
            f"{one_of('', arrays)}",
        )
    if len(given) > 1:
        raise CohortError(f"there are both {' and '.join(given)}", where=where, expected="one")
    said = given[0]
    declared = _declared(arrays, declared or Declared(), said, where)
    of_record, ids = read_patients(arrays["patient"], where)
    records = len(of_record)
    if said in OUTPUTS:
        if "labels" not in arrays:
            raise CohortError(f"{said} need labels", where=where, expected="an array labels")
        values, kind, labels, notes = _outputs(
            arrays[said], arrays["labels"], where, declared, said
        )
        values = values[:, None]
    else:
        plain, notes = read_signals(numbers(arrays[said], 2, where, said), where, declared, said)
        values, kind, labels = plain[:, None, :, None], "signal", None
        if "labels" in arrays:
            labels, more = read_labels(arrays["labels"], where, columns=None, declared=declared)
            notes += more
        else:
            notes.append(NO_LABELS)
    check_records(values, records, where)
    if labels is not None and len(labels) != records:
        raise CohortError(f"{len(labels)} labels for {records} records", where=where)
    membership = read_membership(arrays["membership"], values.shape[0], of_record, len(ids), where)
    notes += check_models(values, membership, where)
    signals = _signals(values, kind, labels)
    if arrays["membership"].shape[1] == len(ids) != records:
        notes += check_patients_order(signals, membership, of_record, arrays["patient"], where)
    notes += _directed(signals, membership, of_record, where, declared, said)
    features, arrays = _features(arrays, records, where)
    columns, more = _group_columns(arrays, records, values, declared, where)
    if values.shape[0] == records:
        more.append(f"models and records are both {records}: arrays were read as (models, records)")
    return Scores(
        values=values,
        kind=kind,
        membership=membership,
        patient_of_record=of_record,
        patient_ids=PatientIds(ids),
        groups=_groups(columns, of_record, len(ids)),
        labels=labels,
        source=where,
        notes=(*notes, *more),
        features=features,
    )


def _features(
    arrays: Mapping[str, NDArray[Any]], records: int, where: str
) -> tuple[NDArray[np.float32] | None, Mapping[str, NDArray[Any]]]:
    """The array features, checked, and the other arrays; one word per record is a group."""
    given = arrays.get("features")
    if given is None or (given.ndim == 1 and given.dtype.kind not in "fiu"):
        return None, arrays
    if given.ndim == 1:
        raise CohortError(
            "features are one number per record: a single column of inputs, or numbers of groups?",
            where=where,
            expected="numbers in 2 dimensions: (records, columns)",
            next_step="Give a column as features[:, None], and a group under another name",
        )
    found = numbers(given, 2, where, "features", "(records, columns)")
    if len(found) != records:
        raise CohortError(
            f"there are features of {len(found)} records",
            where=where,
            expected=f"{records} rows, one for each value of patient, in the same order",
        )
    return found, {name: array for name, array in arrays.items() if name != "features"}


def _declared(
    arrays: Mapping[str, NDArray[Any]], declared: Declared, said: str, where: str
) -> Declared:
    """What was declared, filled up with what the file declares; nothing may be ignored."""
    found: dict[str, Any] = {}
    for key in DECLARED:
        if key in arrays:
            array = arrays[key]
            if array.size != 1 or array.dtype.kind != "U":
                raise CohortError("it is not a text", where=f"{where}, {key}", expected="one word")
            found[key.removesuffix("_are")] = str(array.item())
    if "classes" in arrays:
        found["classes"] = words(arrays["classes"])
    for name, value in found.items():
        if getattr(declared, name) is None:
            declared = replace(declared, **{name: cast("Any", value)})
    for name, kinds in (("signals", SIGNALS), ("outputs", OUTPUTS)):
        if getattr(declared, name) is not None and said not in kinds:
            raise CohortError(
                f"{name} are declared, but there are none", where=f"{where}, {name}_are"
            )
    if declared.labels is not None and "labels" not in arrays:
        raise CohortError("labels are declared, but there are none", where=f"{where}, labels_are")
    return declared


def _outputs(
    given: NDArray[Any], given_labels: NDArray[Any], where: str, declared: Declared, said: str
) -> tuple[NDArray[np.float32], OutputKind, NDArray[np.int64], list[str]]:
    """Outputs (models, records, columns) as logits, their kind, the labels and what to note."""
    outputs = numbers(given, 3, where, said)
    are, notes = meaning_of_outputs(outputs, given_labels, where, declared, said)
    exclusive = are == "probabilities" and total_of_rows(outputs) is not None
    if given_labels.ndim and len(given_labels) != outputs.shape[1]:
        raise CohortError(f"{len(given_labels)} labels for {outputs.shape[1]} records", where=where)
    labels, more = read_labels(
        given_labels,
        where,
        columns=outputs.shape[2],
        declared=declared,
        exclusive=exclusive if are == "probabilities" else None,
    )
    if declared.labels == "multi-hot":
        # Only the number of axes of the labels decides what outputs are: one softmax.
        values, _, repaired = read_outputs(outputs, np.zeros(len(labels), np.int64), where, are)
        signals, told = softmax_of_several(values, labels, where)
        return signals[:, :, None], "signal", labels, [*notes, *more, *repaired, *told]
    values, kind, repaired = read_outputs(outputs, labels, where, are)
    ordered = check_order(values, labels, where, declared=declared.classes is not None)
    ordered += fit_of_labels(values, labels)
    return values, kind, labels, [*notes, *more, *repaired, *ordered]


def _signals(
    values: NDArray[np.float32], kind: OutputKind, labels: NDArray[np.int64] | None
) -> NDArray[np.floating]:
    """Signals of the first query, outputs through their labels; shape (models, records)."""
    first = values[:, 0]
    if kind == "signal" or labels is None:
        return first[:, :, 0]
    return log_odds_of_truth(first, labels, kind)


def _directed(
    signals: NDArray[np.floating],
    membership: Membership,
    of_record: NDArray[np.int64],
    where: str,
    declared: Declared,
    said: str,
) -> list[str]:
    """See :func:`check_direction`."""
    final = declared.signals if said in SIGNALS else declared.outputs
    return check_direction(
        signals, membership, of_record, where, declared=final is not None, said=said
    )


def _group_columns(
    arrays: Mapping[str, NDArray[Any]],
    records: int,
    values: NDArray[np.float32],
    declared: Declared,
    where: str,
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Arrays that are groups: those declared, or all of one value per record."""
    others = {name: array for name, array in arrays.items() if name not in RESERVED}
    fits = [name for name, a in others.items() if a.ndim == 1 and len(a) == records]
    chosen = fits if declared.groups is None else list(declared.groups)
    for name in chosen:
        if name not in fits:
            raise CohortError(
                f'"{name}" is not an array of one value per record',
                where=f"{where}, --group",
                expected=one_of(name, fits),
            )
    same = {"models": values.shape[0], "classes": values.shape[3]}
    for what, count in same.items():
        if declared.groups is None and fits and count == records:
            raise CohortError(
                f"{what} and records are both {records}: {', '.join(fits)} may hold one value for "
                "each of either",
                where=where,
                expected="a declaration of which arrays are groups of patients",
                next_step="Name those that are: --group NAME; remove the others from the file",
            )
    notes = [
        f"array {name} was not used: "
        + ("it was not named as a group" if name in fits else "it is not one value per record")
        for name in others
        if name not in chosen
    ]
    found, more = groups_in_words({name: others[name] for name in chosen})
    return found, [*notes, *more]


def read_model_folders(
    path: Path,
    table: pd.DataFrame | None = None,
    patient: str | None = None,
    groups: Sequence[str] = (),
    declared: Declared | None = None,
    *,
    study: bool = False,
) -> Scores:
    """Read a folder that holds one folder per model.

    Each has ``train_logits.npy`` (records, classes) or (records, queries, classes),
    ``train_labels.npy`` (records,) and ``subset_mask.npy``: one bool per unique patient, in order
    of first appearance.

    Parameters
    ----------
    path : Path
    table : DataFrame of str, optional
        Row i describes record i. Without it every record counts as a separate patient, which is
        refused unless the masks have as many entries as there are records.
    patient : str, optional
        Column of `table`.
    groups : sequence of str
        Columns of `table`.
    declared : Declared, optional
        What the outputs and labels mean.
    study : bool
        The folders are the study's: rows of labels are one-hot, or multi-hot under one softmax,
        which is how its code scores them.

    Raises
    ------
    CohortError
        A file is missing or does not match the others.
    """
    folders = sorted(f for f in path.iterdir() if f.is_dir() and (f / MODEL_FILES[0]).exists())
    if not folders:
        raise CohortError(
            "there is no folder of a model",
            where=str(path),
            expected=f"folders with {', '.join(MODEL_FILES)}",
        )
    given: NDArray[Any] | None = None
    declared = declared or Declared()
    outputs, masks = [], []
    for folder in folders:
        logits, own, mask = (load_npy(folder / name) for name in MODEL_FILES)
        if logits.ndim not in (2, 3):
            raise CohortError(
                f"it has shape {logits.shape}",
                where=f"{folder.name}/{MODEL_FILES[0]}",
                expected="(records, classes) or (records, queries, classes)",
            )
        if given is None:
            given = own
        elif not np.array_equal(given, own):
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
    if given is None:
        raise CohortError("there is no model", where=str(path))
    told: list[str] = []
    several = given.ndim == 2 and given.shape[1] > 1
    if several and declared.labels is None:
        single = given.dtype.kind in "biuf" and one_in_each_row(given)
        if study:
            declared = replace(declared, labels="one-hot" if single else "multi-hot")
        elif not single:
            told.append(
                "labels are read as one sigmoid per label; the study's own code takes a softmax "
                "over all of them, which --layout leakoscope repeats"
            )
    stacked = np.stack(outputs).transpose(0, 2, 1, 3)
    models, queries, records, classes = stacked.shape
    flat = stacked.reshape(models * queries, records, classes)
    flat, kind, labels, more = _outputs(flat, given, path.name, declared, "logits")
    told += more
    values = flat.reshape(models, queries, records, -1)
    check_records(values, len(labels), path.name)
    columns: dict[str, NDArray[Any]] = {}
    notes: tuple[str, ...] = ()
    if table is None:
        if np.asarray(masks[0]).size != records:
            raise CohortError(
                f"the masks refer to {np.asarray(masks[0]).size} patients, but there are "
                f"{records} records",
                where=path.name,
                next_step="Give the patient of each record: --table metadata.csv --patient COLUMN",
            )
        of_record, ids = np.arange(records), np.arange(records).astype(str)
        notes = ("no patient was given for the records: each counts as a separate patient",)
    else:
        if len(table) != records:
            raise CohortError(
                f"the table has {len(table)} rows, but there are {records} records",
                where="table",
                expected="row i describes record i",
            )
        for name in (str(patient), *groups):
            if name not in table.columns:
                raise CohortError(
                    f'there is no column "{name}"',
                    where="table",
                    expected=columns_listed(name, table.columns),
                )
        of_record, ids = read_patients(table[str(patient)].to_numpy(), "table")
        columns = {name: np.array(table[name].fillna("").tolist(), dtype=str) for name in groups}
    membership = read_membership(np.stack(masks), models, of_record, len(ids), path.name)
    told += check_models(values, membership, path.name)
    signals = _signals(values, kind, labels)
    told += _directed(signals, membership, of_record, path.name, declared, "logits")
    return Scores(
        values=values,
        kind=kind,
        membership=membership,
        patient_of_record=of_record,
        patient_ids=PatientIds(ids),
        groups=_groups(columns, of_record, len(ids)),
        labels=labels,
        source=path.name,
        notes=(*notes, *told),
    )


def _groups(
    columns: Mapping[str, NDArray[Any]], of_record: NDArray[np.int64], patients: int
) -> pd.DataFrame:
    found = {
        name: group_of_patients([str(v).strip() for v in values], of_record, patients)
        for name, values in columns.items()
    }
    return pd.DataFrame(found, index=pd.RangeIndex(patients))

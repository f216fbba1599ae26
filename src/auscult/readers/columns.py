"""Columns of a table to model inputs: numbers, and categories with their rare levels pooled.

The rule for categories: a level held by fewer than `min_level_patients` patients, and every level
beyond the `max_levels` most common ones, becomes "(rare)". A level that one patient alone has would
be that patient's name inside the model. Levels are counted over the whole cohort, so that all
models of an audit have the same columns; imputing and scaling are the recipe's, on members only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.errors import CohortError
from auscult.inputs import TableInputs
from auscult.readers.tables import numbers, texts

RARE = "(rare)"
MAX_LEVELS = 50
MIN_LEVEL_PATIENTS = 10


def table_inputs(
    frame: pd.DataFrame,
    patient_of_record: NDArray[np.int64],
    *,
    missing: Sequence[str],
    numeric: Sequence[str],
    categorical: Sequence[str],
    max_levels: int,
    min_level_patients: int,
) -> tuple[TableInputs, list[str]]:
    """Turn all columns of a frame into inputs.

    Parameters
    ----------
    frame : DataFrame
        Input columns of the records kept.
    patient_of_record : int64 array, shape (records,)
    missing : sequence of str
        Values that mean missing.
    numeric, categorical : sequence of str
        Declared columns; the others are numeric when all their values are numbers.
    max_levels, min_level_patients : int

    Returns
    -------
    inputs : TableInputs
    notes : list of str

    Raises
    ------
    CohortError
        A declared numeric column holds text, a value is infinite, or no column is left.
    """
    notes: list[str] = []
    values: dict[str, NDArray[np.float32]] = {}
    codes: dict[str, NDArray[np.int32]] = {}
    levels: dict[str, tuple[str, ...]] = {}
    constant: list[str] = []
    for name in map(str, frame.columns):
        column = frame[name]
        _refuse_dates(column, name)
        if name not in categorical and _is_numeric(column, name, missing, name in numeric):
            array = _numeric(column, name, missing)
            seen = array[~np.isnan(array)]
            if not seen.size or (seen == seen[0]).all():
                constant.append(name)
                continue
            if _looks_like_identifier(array):
                notes.append(
                    f"{name}: every record has its own value; exclude it if it is an identifier"
                )
            values[name] = array
            continue
        code, kept, pooled, total = _categorical(
            texts(column, missing), patient_of_record, max_levels, min_level_patients
        )
        if len(kept) < 2 and not (len(kept) == 1 and (code < 0).any()):
            constant.append(name)
            if pooled:
                notes.append(f'{name}: {total} values, all of them pooled as "{RARE}"')
            continue
        codes[name], levels[name] = code, kept
        if pooled:
            notes.append(f'{name}: {total} values, rare ones pooled as "{RARE}": {pooled}')
    if constant:
        notes.append(f"left out of the inputs, as they have one value only: {', '.join(constant)}")
    if not values and not codes:
        raise CohortError(
            "no input column is left",
            where="cohort",
            expected="at least one column besides patient, label and excluded ones",
        )
    records = len(frame)
    inputs = TableInputs(
        numeric=np.column_stack([*values.values()])
        if values
        else np.empty((records, 0), dtype=np.float32),
        numeric_names=tuple(values),
        codes=np.column_stack([*codes.values()])
        if codes
        else np.empty((records, 0), dtype=np.int32),
        categorical_names=tuple(codes),
        levels=tuple(levels.values()),
    )
    return inputs, notes


def _refuse_dates(column: pd.Series[Any], name: str) -> None:
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise CohortError(
            "the column holds dates or durations",
            where=f"column {name}",
            expected="numbers or categories",
            next_step="Turn it into a number (for example days since admission) or exclude it",
        )


def _is_numeric(column: pd.Series[Any], name: str, missing: Sequence[str], declared: bool) -> bool:
    if column.dtype == np.bool_:
        return False
    array, unparsable = numbers(column, missing)
    if declared and unparsable:
        raise CohortError(
            f"{unparsable} values are no numbers",
            where=f"column {name}",
            expected="numbers, since it is declared numeric",
            next_step="List what stands for missing under cohort.missing, or declare it "
            "categorical",
        )
    return unparsable == 0 and not bool(np.isnan(array).all())


def _numeric(column: pd.Series[Any], name: str, missing: Sequence[str]) -> NDArray[np.float32]:
    array, _ = numbers(column, missing)
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    infinite = int(np.isinf(narrow).sum())
    if infinite:
        raise CohortError(
            f"{infinite} values are infinite or beyond 32-bit floats",
            where=f"column {name}",
            expected="finite numbers, or missing",
            next_step="Mend them, or exclude the column",
        )
    return narrow


def _looks_like_identifier(array: NDArray[np.float32]) -> bool:
    return (
        array.size > 50
        and not np.isnan(array).any()
        and bool((array == np.round(array)).all())
        and np.unique(array).size == array.size
    )


def _categorical(
    values: NDArray[np.object_],
    patient_of_record: NDArray[np.int64],
    max_levels: int,
    min_level_patients: int,
) -> tuple[NDArray[np.int32], tuple[str, ...], int, int]:
    """Codes, levels kept ("(rare)" last), levels pooled and levels found."""
    code, found = pd.factorize(values)
    present = code >= 0
    pairs = np.unique(np.column_stack([code[present], patient_of_record[present]]), axis=0)
    holders = np.bincount(pairs[:, 0].astype(np.int64), minlength=len(found))
    order = sorted(range(len(found)), key=lambda level: (-holders[level], str(found[level])))
    kept = [level for level in order[:max_levels] if holders[level] >= min_level_patients]
    pooled = len(found) - len(kept)
    names = sorted(str(found[level]) for level in kept)
    place = {name: i for i, name in enumerate(names)}
    if pooled:
        names.append(RARE)
    new = np.array(
        [
            place[str(found[level])] if level in set(kept) else len(names) - 1
            for level in range(len(found))
        ],
        dtype=np.int32,
    )
    result = np.full(len(values), -1, dtype=np.int32)
    result[present] = new[code[present]]
    return result, tuple(names), pooled, len(found)

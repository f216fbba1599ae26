"""Columns of a table to model inputs: numbers, and categories with their rare levels pooled.

The rule for categories: a level held by fewer than `min_level_patients` patients, and every level
beyond the `max_levels` most common ones, becomes "(rare)". A level that one patient alone has would
be that patient's name inside the model. Levels are counted over the whole cohort, so that all
models of an audit have the same columns; imputing and scaling are the recipe's, on members only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
ODD_SHARE = 0.05  # fewer values that are no numbers than this are probably slips, and are noted
TIMES = ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period")


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
        if name not in categorical and _is_numeric(
            column, name, missing, name in numeric, notes.append
        ):
            array, _ = numbers(column, missing)
            narrow = _narrow(array, name)
            if _one_value(array):
                constant.append(name)
            elif _one_value(narrow):
                notes.append(f"{name}: left out, 32-bit floats cannot tell its values apart")
            else:
                values[name] = narrow
            if _looks_like_identifier(array):
                notes.append(
                    f"{name}: every record has its own value; exclude it if it is an identifier"
                )
            continue
        code, kept, pooled, total = _categorical(
            texts(column, missing), patient_of_record, max_levels, min_level_patients
        )
        if pooled:
            which = "all" if kept == (RARE,) else "the rarest" if pooled == 1 else ""
            which = which or f"the {pooled} rarest"
            notes.append(f'{name}: {total} values, {which} pooled as "{RARE}"')
        if len(kept) < 2 and not (len(kept) == 1 and (code < 0).any()):
            constant.append(name)
            continue
        codes[name], levels[name] = code, kept
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
    # Files and other dataframe libraries bring dates as Python objects.
    kind = "" if column.dtype.kind in "biuf" else pd.api.types.infer_dtype(column, skipna=True)
    if kind in TIMES:
        raise CohortError(
            "the column holds dates or durations",
            where=f"column {name}",
            expected="numbers or categories",
            next_step="Turn it into a number (for example days since admission) or exclude it",
        )


def _is_numeric(
    column: pd.Series[Any],
    name: str,
    missing: Sequence[str],
    declared: bool,
    note: Callable[[str], None],
) -> bool:
    if not declared and (
        pd.api.types.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)
    ):
        return False
    array, unparsable = numbers(column, missing)
    parsed = int((~np.isnan(array)).sum())
    if declared and unparsable:
        raise CohortError(
            f"{unparsable} values are no numbers",
            where=f"column {name}",
            expected="numbers, since it is declared numeric",
            next_step="List what stands for missing under cohort.missing, or declare it "
            "categorical",
        )
    if 0 < unparsable < parsed * ODD_SHARE:
        note(
            f"{name}: read as categories because {unparsable} of its {parsed + unparsable} values "
            "are no numbers"
        )
    return unparsable == 0 and parsed > 0


def _one_value(array: NDArray[np.floating[Any]]) -> bool:
    """Does it say nothing? One number and missing values say something: who has it."""
    return bool(np.isnan(array).all() or (array == array[0]).all())


def _narrow(array: NDArray[np.float64], name: str) -> NDArray[np.float32]:
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


def _looks_like_identifier(array: NDArray[np.float64]) -> bool:
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
    code, levels = pd.factorize(values)
    found = [str(level) for level in levels.tolist()]
    present = code >= 0
    patients = int(patient_of_record.max()) + 1
    pairs = pd.unique(code[present].astype(np.int64) * patients + patient_of_record[present])
    holders = np.bincount(pairs // patients, minlength=len(found))
    order = sorted(range(len(found)), key=lambda level: (-holders[level], found[level]))
    # A value that is written "(rare)" in the data joins the pool.
    kept = {
        found[level]
        for level in order[:max_levels]
        if holders[level] >= min_level_patients and found[level] != RARE
    }
    pooled = len(found) - len(kept)
    names = (*sorted(kept), RARE) if pooled else tuple(sorted(kept))
    place = {name: i for i, name in enumerate(names)}
    new = [place.get(level, len(names) - 1) for level in found]
    result = np.array([*new, -1], dtype=np.int32)[code]
    return result, names, pooled, len(found)

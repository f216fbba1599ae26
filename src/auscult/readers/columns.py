"""Columns of a table to model inputs: numbers, and categories with their rare levels pooled.

The rule for categories: a level held by fewer than `min_level_patients` patients, and every level
beyond the `max_levels` most common ones, becomes "(rare)". A level that one patient alone has would
be that patient's name inside the model. Levels are counted over the whole cohort, so that all
models of an audit have the same columns; imputing and scaling are the recipe's, on members only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.cohort.inputs import TableInputs
from auscult.readers.doubts import (
    NARROW,
    compact_dates,
    measured,
    no_single_number,
    spelt_twice,
)
from auscult.readers.own import own_column, own_numbers
from auscult.readers.quantities import dates, looks_like_dates, parse, strays, unit_of
from auscult.readers.values import numbers, plain_numbers, texts

RARE = "(rare)"
MAX_LEVELS = 50
MIN_LEVEL_PATIENTS = 10
FIRST_LOOKED_AT = 400
DATES = ("date", "datetime", "datetime64")
Dates = Literal["days", "exclude"]
TIMES = ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period")


def table_inputs(
    frame: pd.DataFrame,
    patient_of_record: NDArray[np.int64],
    *,
    missing: Sequence[str],
    numeric: Collection[str],
    categorical: Collection[str],
    max_levels: int,
    min_level_patients: int,
    dated: Dates | None = None,
    typed: Collection[str] = (),
) -> tuple[TableInputs, list[str]]:
    """Turn all columns of a frame into inputs.

    Parameters
    ----------
    frame : DataFrame
        Input columns of the records kept.
    patient_of_record : int64 array, shape (records,)
    missing : sequence of str
        Values that mean missing.
    numeric, categorical : collection of str
        Declared columns; the others are numeric when all their values are numbers.
    max_levels, min_level_patients : int
    dated : {"days", "exclude"}, optional
        What becomes of columns of dates: days since the first date that the patient has in any of
        them, or none.
    typed : collection of str
        Columns whose source has types: text in them is text, for the user's own code.

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
    own: dict[str, Any] = {}
    constant: list[str] = []
    moments: dict[str, NDArray[np.float64]] = {}
    # Every column is asked for in these, and there may be tens of thousands of columns.
    numeric, categorical, typed = frozenset(numeric), frozenset(categorical), frozenset(typed)
    frame = frame.copy(deep=False)
    frame.attrs = {}  # copied with every column otherwise
    for name in map(str, frame.columns):
        column = frame[name]
        plain = None if name in categorical else plain_numbers(column, missing)
        if name not in categorical and name not in numeric:
            days = _dates(column, plain, name, missing, dated)
            if days is not None:
                moments[name] = days
                values[name] = np.empty(0, dtype=np.float32)  # its place among the columns
                own[name] = np.empty(0)
                continue
        declared = "numeric" if name in numeric else "categorical" if name in categorical else None
        own_type = name in typed
        if name not in categorical and _is_numeric(
            column, plain, name, missing, name in numeric, notes.append
        ):
            array = numbers(column, missing)[0] if plain is None else plain
            if declared is None:
                notes += measured(column, array, name)
            own[name] = (
                own_column(column, missing, typed=own_type, declared=declared, values=array).array
                if plain is None or own_type
                else own_numbers(column, plain)
            )
            narrow = _narrow(array, name)
            if _one_value(array):
                constant.append(name)
            elif _one_value(narrow):
                notes.append(
                    f"{name}: left out, because 32-bit floats cannot distinguish its values"
                )
            else:
                values[name] = narrow
                notes += _merged(array, narrow, name)
            if _looks_like_identifier(array):
                notes.append(
                    f"{name}: every record has its own value; exclude it if it is an identifier"
                )
            continue
        text = texts(column, missing)
        own[name] = own_column(
            column, missing, typed=own_type, declared=declared, values=None, text=text
        ).array
        code, kept, pooled, total = _categorical(
            text, patient_of_record, max_levels, min_level_patients
        )
        twice = spelt_twice(kept)
        if twice:
            notes.append(
                f"{name}: {len(twice)} of its values are there in several spellings (capitals, "
                "spaces, zeros): each spelling is a category"
            )
        if pooled:
            which = "all" if kept == (RARE,) else "the rarest" if pooled == 1 else ""
            which = which or f"the {pooled} rarest"
            notes.append(f'{name}: {total} values, {which} pooled as "{RARE}"')
        if len(kept) < 2 and not (len(kept) == 1 and (code < 0).any()):
            constant.append(name)
            continue
        codes[name], levels[name] = code, kept
    if moments:
        notes.append(_in_days(moments, patient_of_record, values, own, constant, dated))
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
        own=pd.DataFrame(own, index=pd.RangeIndex(records)),
    )
    return inputs, notes


def _dates(
    column: pd.Series[Any],
    plain: NDArray[np.float64] | None,
    name: str,
    missing: Sequence[str],
    how: Dates | None,
) -> NDArray[np.float64] | None:
    """Days since 1970 of a column of dates, None where it holds none.

    Raises
    ------
    CohortError
        It holds dates, and nothing says what becomes of them; or it holds durations.
    """
    # Files and other dataframe libraries bring dates as Python objects, text as text.
    if column.dtype.kind in "iuf":
        return _compact(np.asarray(column, dtype=np.float64), name, how)
    if plain is not None:
        return _compact(plain, name, how)
    kind = "" if column.dtype.kind == "b" else pd.api.types.infer_dtype(column, skipna=True)
    values = None
    if kind == "string" or (kind == "categorical" and column.dtype.kind == "O"):
        first = texts(column.iloc[:FIRST_LOOKED_AT], missing)
        some = [value for value in first.tolist() if value is not None]
        if some and not looks_like_dates(some, 0.5):
            return None
        values = texts(column, missing)
        found = pd.unique(values[values != None])  # noqa: E711 - elementwise
        if not looks_like_dates(found.tolist()):
            return None
    elif kind not in TIMES:
        return None
    if how is None or kind not in ("string", *DATES):
        if kind in ("string", *DATES):
            raise _asked(name)
        raise CohortError(
            "the column holds durations",
            where=f"column {name}",
            expected="numbers or categories",
            next_step="Turn it into a number, or exclude it: cohort.exclude",
        )
    if how == "exclude":
        return np.full(len(column), np.nan)
    if values is None:
        values = texts(column, missing)
    return dates(values.tolist(), f"column {name}")


def _asked(name: str) -> CohortError:
    return CohortError(
        "the column holds dates",
        where=f"column {name}",
        expected="numbers or categories",
        next_step='Declare how dates are used under [cohort]: dates = "days" (since the first date '
        'of each patient) or dates = "exclude"; or exclude the column',
    )


def _compact(
    values: NDArray[np.float64], name: str, how: Dates | None
) -> NDArray[np.float64] | None:
    """Days since 1970 of numbers that are dates as 20240531, None where they are not."""
    if not compact_dates(values):
        return None
    if how is None:
        raise _asked(name)
    if how == "exclude":
        return np.full(len(values), np.nan)
    whole = [None if np.isnan(v) else f"{int(v)}" for v in values.tolist()]
    written = [v and f"{v[:4]}-{v[4:6]}-{v[6:]}" for v in whole]
    return dates(written, f"column {name}")


def _merged(array: NDArray[np.float64], narrow: NDArray[np.float32], name: str) -> list[str]:
    """A note where 32-bit floats merge values."""
    if not array.size or np.nanmax(np.abs(array)) <= NARROW:
        return []
    lost = len(np.unique(array)) - len(np.unique(narrow))
    if not lost:
        return []
    return [f"{name}: {lost:,} of its different values are merged with others in 32-bit floats"]


def _in_days(
    moments: dict[str, NDArray[np.float64]],
    patient_of_record: NDArray[np.int64],
    values: dict[str, NDArray[np.float32]],
    own: dict[str, Any],
    constant: list[str],
    dated: Dates | None,
) -> str:
    """Put days since each patient's first date among the values, or take the columns out."""
    named = ", ".join(moments)
    if dated == "exclude":
        for name in moments:
            del values[name], own[name]
        return f"{named}: dates, which are not inputs (cohort.dates)"
    first = np.full(int(patient_of_record.max()) + 1, np.inf)
    for days in moments.values():
        there = ~np.isnan(days)
        np.minimum.at(first, patient_of_record[there], days[there])
    for name, days in moments.items():
        own[name] = days - first[patient_of_record]
        since = own[name].astype(np.float32)
        if _one_value(since):
            del values[name]
            constant.append(name)
        else:
            values[name] = since
    return f"{named}: dates, read as days since the first date of each patient in these columns"


def _is_numeric(
    column: pd.Series[Any],
    plain: NDArray[np.float64] | None,
    name: str,
    missing: Sequence[str],
    declared: bool,
    note: Callable[[str], None],
) -> bool:
    """Whether a column holds numbers; a few stray values are told and left missing."""
    if not declared and (
        pd.api.types.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)
    ):
        return False
    if plain is not None:
        return not bool(np.isnan(plain).all())
    array, unparsable = numbers(column, missing)
    parsed = int((~np.isnan(array)).sum())
    if declared and unparsable:
        raise CohortError(
            f"{unparsable} values are not numbers",
            where=f"column {name}",
            expected="numbers, because it is declared numeric",
            next_step="List the values that mean missing under cohort.missing, or declare it "
            "categorical",
        )
    if column.dtype.kind in "biuf" and not unparsable:
        return parsed > 0
    place, found = pd.factorize(texts(column, missing))
    seen, limits = parse(found.tolist())
    if unparsable and not declared:
        unit = unit_of(found.tolist())
        if unit is not None:
            raise CohortError(
                "its values are numbers followed by a unit",
                where=f"column {name}",
                expected="numbers only",
                next_step="Remove the unit from the values, or name the column in "
                "cohort.categorical",
            )
        several = no_single_number(found.tolist())
        if several is not None:
            raise CohortError(
                f"its values are {several}",
                where=f"column {name}",
                expected="one number in each",
                next_step="Make columns of numbers of it, or name it in cohort.categorical",
            )
        wrong = np.isnan(seen)
        if not strays(found.tolist(), wrong, place, int((~wrong).sum()), name, note):
            return False
    if parsed and limits.any():
        count = int(limits[place[place >= 0]].sum())
        note(
            f"{name}: {count} values are limits (such as below or above what can be measured) and "
            "were read as the numbers that they give"
        )
    return parsed > 0


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
            next_step="Correct them, or exclude the column",
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

"""Values of a column as text or as numbers, missing ones apart.

Columns of text that hold nothing but numbers, as most columns of delimited files do, are read by
Arrow in one pass; others value by value.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.readers.arrow import FEW_LOOKED_AT, floats
from auscult.readers.quantities import parse

# What pandas reads as missing, and what Excel writes where a formula failed.
ALWAYS_MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "NaT", "null", "NULL", "None"),
    *("1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN"),
    *("#N/A", "#N/A N/A", "#NA", "#VALUE!", "#REF!", "#DIV/0!", "#NUM!", "#NAME?", "#NULL!"),
)


def texts(
    column: pd.Series[Any], missing: Iterable[str] = (), named: Iterable[str] = ()
) -> NDArray[np.object_]:
    """Values as stripped text, None where missing.

    Whole numbers lose their ".0", which dataframes add as soon as a value is missing.

    Parameters
    ----------
    column : Series
    missing : iterable of str
        Values that mean missing, besides those that always do.
    named : iterable of str
        Values that the user speaks of as values: they are not missing in this column.
    """
    if column.dtype == object:  # 1 and True are one value to a hash table
        values, place = column.tolist(), np.arange(len(column))
        place[column.isna().to_numpy(dtype=bool)] = -1
    else:
        place, found = pd.factorize(column)
        values = found.tolist()
    tokens = {*ALWAYS_MISSING, *missing} - set(named) | {""}
    text = [written(value) for value in values]
    distinct = np.array([None if one in tokens else one for one in text] + [None], dtype=object)
    return np.asarray(distinct[place], dtype=object)


def written(value: object) -> str:
    """One value as stripped text; a whole number in a float as a whole number."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def numbers(column: pd.Series[Any], missing: Iterable[str] = ()) -> tuple[NDArray[np.float64], int]:
    """Values as numbers, NaN where missing, and how many are no numbers.

    Returns
    -------
    values : float64 array
        NaN where missing or no number.
    unparsable : int
    """
    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else "O"
    if kind in "biuf" and not missing:
        return column.to_numpy(dtype=np.float64), 0
    plain = plain_numbers(column, missing)
    if plain is not None:
        return plain, 0
    place, found = pd.factorize(texts(column, missing))
    parsed, _ = parse(found.tolist())
    values = np.append(parsed, np.nan)[place]
    return values, int((np.isnan(values) & (place >= 0)).sum())


def plain_numbers(
    column: pd.Series[Any], missing: Iterable[str] = ()
) -> NDArray[np.float64] | None:
    """Numbers of a text column that holds nothing but plain numbers and what means missing.

    It is read in one pass, where :func:`numbers` looks at each different value; the numbers are the
    same.

    Parameters
    ----------
    column : Series
    missing : iterable of str
        Values that mean missing.

    Returns
    -------
    float64 array or None
        None where the column is no text, or holds other values, or numbers that mean missing.
    """
    if not isinstance(column.dtype, pd.StringDtype):
        return None
    tokens = {*ALWAYS_MISSING, *missing}
    quick = floats(column, tokens)
    if quick is not None:
        return quick
    first = [one for one in column.iloc[:FEW_LOOKED_AT].tolist() if isinstance(one, str)]
    if any(not _number_or(one.strip(), tokens) for one in first):
        return None
    text = column.to_numpy(dtype=object)
    parsed = pd.to_numeric(pd.Series(text, dtype=object), errors="coerce")
    values = parsed.to_numpy(dtype=np.float64, na_value=np.nan).copy()
    bad = np.isnan(values)
    if (
        bad.any()
        and not {one.strip() for one in set(text[bad].tolist()) if isinstance(one, str)} <= tokens
    ):
        return None
    for one in tokens:
        if _number_or(one, ()) and (values == float(one)).any():
            return None
    return values


def _number_or(text: str, tokens: Container[str]) -> bool:
    try:
        float(text)
    except ValueError:
        return text in tokens
    return True

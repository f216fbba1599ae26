"""Columns of a table as the user's own code gets them: with the types that the file gives them.

Dataframes and Parquet files have types, and keep them. Text files have none: their columns get the
types that ``pandas.read_csv`` gives, after what the reader settled (what means missing, decimal
commas, limits, a few stray values among numbers). Columns that ``cohort.categorical`` names are
text there, as they are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.readers.arrow import has
from auscult.readers.values import texts

WHOLE = 2.0**53  # floats below it hold whole numbers exactly
TRUE, FALSE = ("True", "TRUE", "true"), ("False", "FALSE", "false")


def own_column(
    column: pd.Series[Any],
    missing: Sequence[str],
    *,
    typed: bool,
    declared: str | None,
    values: NDArray[np.float64] | None,
    text: NDArray[np.object_] | None = None,
) -> pd.Series[Any]:
    """One column in its own type, missing values as missing.

    Parameters
    ----------
    column : Series
        As it was read.
    missing : sequence of str
        Values that mean missing.
    typed : bool
        Whether its source has types, so that text in it is text.
    declared : {"numeric", "categorical"} or None
        What the user said of it.
    values : float64 array, shape (records,), or None
        Its numbers, NaN where missing, if the reader reads it as numbers.
    text : object array of str, shape (records,), optional
        What `texts` makes of it, where that is known already.

    Returns
    -------
    Series, numbered from 0
    """
    if values is not None and isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        array = column.to_numpy()
        if bool((np.isnan(array) == np.isnan(values)).all()):
            return pd.Series(array)  # nothing more is missing than it says itself
    column = column.reset_index(drop=True)
    if not _is_text(column) or (typed and declared != "numeric"):
        if values is not None and not _is_text(column):
            absent = np.isnan(values)
        else:
            text = texts(column, missing) if text is None else text
            absent = text == None  # noqa: E711 - elementwise
        there = column.isna().to_numpy(dtype=bool)
        return column if not (absent & ~there).any() else column.mask(absent)
    if values is not None:
        whole = not np.isnan(values).any() and bool((values == np.round(values)).all())
        return pd.Series(_exact(texts(column, missing), values) if whole else values)
    code, found = pd.factorize(texts(column, missing) if text is None else text)
    absent = code < 0
    if absent.all():
        return pd.Series(np.full(len(column), np.nan))
    if declared != "categorical" and {*found.tolist()} <= {*TRUE, *FALSE}:
        true = np.append(np.isin(found.astype(str), TRUE), False)[code]
        if not absent.any():
            return pd.Series(true)
        answers = true.astype(object)
        answers[absent] = np.nan
        return pd.Series(answers, dtype=object)
    if column.dtype != object:
        return column.mask(absent) if absent.any() else column
    kept = column.to_numpy(dtype=object).copy()
    kept[absent] = np.nan
    return pd.Series(kept.tolist())


def own_numbers(column: pd.Series[Any], values: NDArray[np.float64]) -> NDArray[Any]:
    """Numbers of a column of plain text, as integers where all of them are written as such.

    Parameters
    ----------
    column : Series
        Text, as :func:`auscult.readers.values.plain_numbers` takes.
    values : float64 array, shape (records,)
        Its numbers, NaN where missing.
    """
    if np.isnan(values).any() or (values != np.round(values)).any():
        return values
    if np.abs(values).max(initial=0) < WHOLE and has(column, r"[^0-9+-]") is False:
        return values.astype(np.int64)
    return _exact(texts(column), values)


def _is_text(column: pd.Series[Any]) -> bool:
    return column.dtype == object or isinstance(column.dtype, pd.StringDtype)


def _exact(text: NDArray[np.object_], values: NDArray[np.float64]) -> NDArray[Any]:
    """Whole numbers to the last digit where all of them are written as such, floats otherwise."""
    try:
        exact = pd.to_numeric(pd.Series(text, dtype=object)).to_numpy()
    except (ValueError, OverflowError):  # "<5", or more digits than integers have
        return values
    return exact if exact.dtype.kind in "iu" else values

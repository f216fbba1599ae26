"""Columns of text as Arrow holds them: numbers and patterns of a whole column in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

FEW_LOOKED_AT = 100  # values that tell words from numbers before all are read
MANY_LOOKED_AT = 1000  # and many different ones from few


def held_by_arrow(column: pd.Series[Any]) -> Any:  # noqa: ANN401
    """The Arrow array behind a column of text; None of other columns."""
    if not isinstance(column.dtype, pd.StringDtype) or column.dtype.storage != "pyarrow":
        return None
    import pyarrow as pa

    return pa.array(column.array)


def floats(column: pd.Series[Any], missing: Iterable[str]) -> NDArray[np.float64] | None:
    """Numbers of a text column that holds nothing but plain numbers and what means missing.

    Parameters
    ----------
    column : Series
    missing : iterable of str
        Texts that mean missing, all of them.

    Returns
    -------
    float64 array or None
        None where Arrow cannot tell: another type, spaces, words, signs that it does not take.
    """
    import pyarrow as pa
    from pyarrow import compute

    held = held_by_arrow(column)
    if held is None:
        return None
    words, numeric = _words(frozenset(missing))
    try:
        # A word among the first is seen at once: of a whole column, Arrow words an error for each.
        first = held[:FEW_LOOKED_AT]
        compute.cast(
            compute.if_else(compute.is_in(first, value_set=words), None, first), pa.float64()
        )
        if not numeric:
            try:
                found = compute.cast(held, pa.float64())
            except pa.ArrowInvalid:
                numeric = True
        if numeric:
            absent = compute.is_in(held, value_set=words)
            found = compute.cast(compute.if_else(absent, None, held), pa.float64())
    except pa.ArrowInvalid:
        return None
    values = np.array(found.to_numpy(zero_copy_only=False), dtype=np.float64)
    if not numeric:
        nan = np.isnan(values)
        if nan.any() and int(nan.sum()) != found.null_count:
            # Words such as NaN, which Arrow reads as numbers: each must be one that means missing.
            odd = compute.filter(held, pa.array(nan & ~_null(held)))
            if not compute.all(compute.is_in(odd, value_set=words)).as_py():
                return None
    return values


def has(column: pd.Series[Any], pattern: str) -> bool | None:
    """Whether a value has a part that matches; None where Arrow does not hold the column.

    Parameters
    ----------
    column : Series
    pattern : str
        A regular expression that RE2 knows.
    """
    from pyarrow import compute

    held = held_by_arrow(column)
    if held is None:
        return None
    first = held[:MANY_LOOKED_AT]
    if 2 * len(compute.unique(first)) < len(first):  # most columns have few different values
        held = compute.unique(held)
    return bool(compute.any(compute.match_substring_regex(held, pattern)).as_py())


def _null(held: Any) -> NDArray[np.bool_]:  # noqa: ANN401
    return np.asarray(held.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)


@lru_cache(maxsize=8)
def _words(missing: frozenset[str]) -> tuple[pa.Array, bool]:
    """Words that mean missing, and whether one of them is a number."""
    import pyarrow as pa

    return pa.array(sorted(missing), pa.large_string()), any(_finite(one) for one in missing)


def _finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False

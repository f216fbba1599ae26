"""Tables from files and dataframes, and their columns as text or numbers with missing values.

Nothing is guessed about a value before its column is looked at as a whole: files are read as text
(:mod:`auscult.readers.table_files`).
Messages never quote a cell, because a cell may be an identifier.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.readers.delimited import SEMICOLONS, without_headers, without_units
from auscult.readers.header import columns_listed
from auscult.readers.quantities import Decimal, canonical
from auscult.readers.table_files import holds_text, is_text, read_below, refuse_doubles
from auscult.readers.values import ALWAYS_MISSING, numbers, texts

NOTES = "auscult_notes"  # in a frame's attrs: what reading it changed
TYPED = "auscult_typed"  # in a frame's attrs: columns whose source has types
ROW_NUMBERS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")


def read_table(
    data: Any,  # noqa: ANN401
    columns: Sequence[str] | None = None,
    *,
    delimiter: str | None = None,
    decimal: Decimal | None = None,
    missing: Iterable[str] = (),
) -> pd.DataFrame:
    """Read a file, a folder of part files, or take a dataframe.

    Parameters
    ----------
    data : path-like or dataframe
        Delimited text (``.csv``, ``.tsv``, ``.txt``, also with ``.gz``: UTF-8 or UTF-16, a header
        line; read as text), ``.parquet``, a folder of such files with the same columns, or any
        dataframe that narwhals knows (pandas, polars, pyarrow, ...). A tuple of paths is read one
        below the other, with the columns of the first.
    columns : sequence of str, optional
        Of a file: keep only these, if it has any of them; others are not held in memory.
    delimiter : str, optional
        Of delimited text; told from the lines where not said.
    decimal : "," or ".", optional
        What parts decimals in numbers that are text; told from the values where not said.
    missing : iterable of str
        Values that mean missing.

    Returns
    -------
    DataFrame
        Column names are text; rows are numbered from 0. What reading changed: :func:`told`.

    Raises
    ------
    CohortError
        The file is missing or unreadable, or has no rows or two columns of one name; or its numbers
        can be read in two ways.
    """
    notes: list[str] = []
    files = files_of(data)
    if files:
        frame, where = read_below(files, columns, delimiter, notes), files[0].name
    else:
        frame, where = _from_dataframe(data), "table"
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    refuse_doubles(frame.columns.tolist(), where)
    if not len(frame):
        raise CohortError("it has no rows", where=where, expected="one row per record")
    frame = frame.reset_index(drop=True)
    tokens = {*ALWAYS_MISSING, *missing}
    if "" not in (columns or ()):  # asked for by its empty name, as an owner's table has it
        frame, more = without_row_numbers(frame, where)
        notes += more
    if files and is_text(files[0]):
        frame, more = without_headers(frame)
        notes += more
        frame, more = without_units(frame, tokens)
        notes += more
    read = frame
    semicolons = any(SEMICOLONS in note for note in notes)
    frame, more = canonical(frame, sorted(tokens), decimal, where, semicolons=semicolons)
    typed = [] if files and holds_text(files[0]) else [*frame]
    # Text that was read as numbers, such as decimal commas, is no longer what the source holds.
    frame.attrs[TYPED] = Kept(n for n in typed if read is frame or read[n].equals(frame[n]))
    frame.attrs[NOTES] = Kept([*notes, *more])
    return frame


def files_of(data: Any) -> tuple[Path, ...]:  # noqa: ANN401
    """The files of a table, one below the other; none of a dataframe.

    Parameters
    ----------
    data : path-like, tuple of them, or dataframe
    """
    if isinstance(data, tuple):
        return tuple(Path(one) for one in data)
    return (Path(data),) if isinstance(data, str | os.PathLike) else ()


def without_row_numbers(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """The table without columns that have no name and count its rows, or hold nothing.

    Programs write their index so. A model that reads it can tell every record from all others.

    Raises
    ------
    CohortError
        A column without a name holds something else.
    """
    notes: list[str] = []
    for name in [one for one in map(str, frame.columns) if ROW_NUMBERS.fullmatch(one)]:
        words = texts(frame[name])
        if not (words != None).any():  # noqa: E711 - elementwise
            what = "holds nothing"
        else:
            values, wrong = numbers(frame[name])
            rows = np.arange(len(values))
            if wrong or np.isnan(values).any() or (values - values[0] != rows).any():
                if not name:
                    raise CohortError(
                        f"column {list(frame.columns).index(name) + 1} has no name",
                        where=where,
                        expected="a name for each column",
                        next_step="Name it, or take it out",
                    )
                continue
            what = "counts the rows"
        frame = frame.drop(columns=name)
        notes.append(f'a column without a name ("{name}") {what} and was left out')
    return frame, notes


class Kept(tuple[str, ...]):
    """What a frame's attrs hold; pandas copies those with every column that is taken."""

    def __deepcopy__(self, memo: object) -> Kept:
        """The same: with thousands of columns, copies take far longer than reading."""
        return self


def told(frame: pd.DataFrame) -> list[str]:
    """What reading a table changed or recognised: for the cohort's notes."""
    return list(frame.attrs.get(NOTES, ()))


def with_types(frame: pd.DataFrame) -> list[str]:
    """Columns of a table whose source has types, as Parquet files and dataframes have."""
    return list(frame.attrs.get(TYPED, ()))


def rows_of(frame: pd.DataFrame, rows: NDArray[np.integer]) -> pd.DataFrame:
    """Some rows of a table; the table itself where these are all of them."""
    whole = len(rows) == len(frame) and bool((rows == np.arange(len(rows))).all())
    return frame if whole else frame.iloc[rows]


def with_missing(
    frame: pd.DataFrame, values: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, list[str]]:
    """The table with some values of some columns missing, and how many were.

    Parameters
    ----------
    frame : DataFrame
    values : mapping of str to sequence of str
        Values that mean missing, by column.

    Raises
    ------
    CohortError
        There is no such column or value.
    """
    require_columns(frame, [("cohort.missing_in", name) for name in values], "table")
    columns, notes = {}, []
    for name, words in values.items():
        where = np.isin(texts(frame[name], (), words).astype(str), list(words))
        as_numbers, _ = numbers(frame[name])
        for one in words:
            with contextlib.suppress(ValueError):
                where |= as_numbers == float(one)
        if not where.any():
            raise CohortError(
                "no record has such a value",
                where=f"cohort.missing_in, column {name}",
                expected="values that occur in this column",
            )
        columns[name] = frame[name].mask(where)
        notes.append(f"{name}: {int(where.sum()):,} values count as missing (missing_in)")
    attrs = frame.attrs
    frame = frame.assign(**columns)
    frame.attrs.update(attrs)
    return frame, notes


def require_columns(frame: pd.DataFrame, names: Iterable[tuple[str, str]], where: str) -> None:
    """Raise a CohortError for the first (key, column) that the table has not.

    Parameters
    ----------
    frame : DataFrame
    names : iterable of (str, str)
        Key of the configuration and column.
    where : str
        Name of the table, for the message.
    """
    for key, name in names:
        if name not in frame.columns:
            raise CohortError(
                f'there is no column "{name}"',
                where=f"{where}, {key}",
                expected=columns_listed(name, frame.columns),
            )


def _from_dataframe(data: Any) -> pd.DataFrame:  # noqa: ANN401
    import narwhals as nw
    from narwhals.exceptions import DuplicateError

    if isinstance(data, pd.DataFrame):
        named = [name for name in data.index.names if name is not None]
        if named and not set(named) & set(data.columns):
            drop = [name for name in data.index.names if name is None]
            return data.reset_index(level=named) if drop else data.reset_index()
        return data.copy(deep=False)
    try:
        native = nw.from_native(data, eager_only=True)
    except TypeError as error:
        raise CohortError(
            f"{type(data).__name__} is not a table",
            where="table",
            expected="a path or a dataframe in memory (pandas, polars, pyarrow)",
            next_step="Collect a lazy one first",
        ) from error
    except DuplicateError as error:
        raise CohortError(
            "column names occur more than once", where="table", expected="names that differ"
        ) from error
    frame: pd.DataFrame = native.to_pandas()
    return frame

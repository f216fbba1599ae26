"""Tables from files and dataframes, and their columns as text or numbers with missing values.

Nothing is guessed about a value before its column is looked at as a whole: files are read as text.
Messages never quote a cell, because a cell may be an identifier.
"""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.errors import CohortError, one_of

ALWAYS_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
SUFFIXES = (".csv", ".csv.gz", ".parquet")
NOT_UTF8 = "it is not UTF-8 text"
CONVERT = "Convert it: iconv -f latin1 -t utf8 OLD.csv > NEW.csv"
CSV_EXPECTED = (
    "a whole file that you may read: UTF-8, commas, a header line, quotes closed, as many fields "
    "in each line"
)


def read_table(
    data: Any,  # noqa: ANN401
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read a file or take a dataframe.

    Parameters
    ----------
    data : path-like or dataframe
        ``.csv``, ``.csv.gz`` (UTF-8, comma, header line; read as text), ``.parquet``, or any
        dataframe that narwhals knows (pandas, polars, pyarrow, ...).
    columns : sequence of str, optional
        Of a file: keep only these, if it has any of them; others are not held in memory.

    Returns
    -------
    DataFrame
        Column names are text; rows are numbered from 0.

    Raises
    ------
    CohortError
        The file is missing or unreadable, or has no rows or two columns of one name.
    """
    if isinstance(data, str | os.PathLike):
        frame, where = _read_file(Path(data), columns), Path(data).name
    else:
        frame, where = _from_dataframe(data), "table"
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    _refuse_doubles(frame.columns.tolist(), where)
    if not len(frame):
        raise CohortError("it has no rows", where=where, expected="one row per record")
    return frame.reset_index(drop=True)


def require_columns(frame: pd.DataFrame, names: Iterable[tuple[str, str]], where: str) -> None:
    """Raise a CohortError for the first (key, column) that the table has not."""
    for key, name in names:
        if name not in frame.columns:
            raise CohortError(
                f'there is no column "{name}"',
                where=f"{where}, {key}",
                expected=one_of(name, map(str, frame.columns)),
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
    place, found = pd.factorize(texts(column, missing))
    parsed = pd.to_numeric(pd.Series(found, dtype=object), errors="coerce")
    distinct = np.append(parsed.to_numpy(dtype=np.float64, na_value=np.nan), np.nan)
    values = distinct[place]
    return values, int((np.isnan(values) & (place >= 0)).sum())


def _read_file(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise CohortError(
            "this kind of file is not read", where=str(path), expected=" or ".join(SUFFIXES)
        )
    # Arrow's messages quote the line they fail on, which may name a patient: no error that it
    # raises is passed on or chained, since a traceback would print it.
    try:
        read = _read_parquet if name.endswith(".parquet") else _read_csv
        return read(path, columns)
    except FileNotFoundError:
        what, next_step = "there is no such file", "Check the path and its folder"
    except UnicodeDecodeError:
        what, next_step = NOT_UTF8, CONVERT
    except zlib.error:
        what, next_step = "the compressed file is damaged", "Copy it again"
    except (OSError, EOFError, ValueError, NotImplementedError, csv.Error) as error:
        what, next_step = f"it cannot be read ({type(error).__name__})", ""
        if "UTF8" in str(error) or "UTF-8" in str(error):
            what, next_step = NOT_UTF8, CONVERT
    expected = "a whole Parquet file" if name.endswith(".parquet") else CSV_EXPECTED
    raise CohortError(what, where=str(path), expected=expected, next_step=next_step)


def _read_csv(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """Read all fields as text. By Arrow, which tells of ragged lines; pandas fills them."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    zipped = path.name.lower().endswith(".gz")
    opened = gzip.open if zipped else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle)
        header = next((fields for fields in reader if fields), None)
        lines = reader.line_num
    if header is None:
        raise CohortError("the file is empty", where=str(path), expected="a header line")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise CohortError(
            "the header is one field: the separator is no comma",
            where=str(path),
            expected="commas between fields",
            next_step="Save it with commas, or read it in Python and give the dataframe",
        )
    ragged: list[int | None] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row.number)
        return "skip"

    names = [str(i) for i in range(len(header))]
    kept = [i for i, name in enumerate(header) if columns is None or name.strip() in {*columns}]
    kept = kept or list(range(len(header)))
    with pa.input_stream(str(path), compression="gzip" if zipped else None) as stream:
        table = arrow_csv.read_csv(
            stream,
            read_options=arrow_csv.ReadOptions(
                column_names=names, skip_rows=lines, use_threads=False
            ),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                include_columns=[names[i] for i in kept],
            ),
        )
    if ragged:
        raise CohortError(
            "lines differ from the header in their number of fields: "
            f"{len(ragged)} of them, the first is line {ragged[0]}",
            where=str(path),
            expected=f"{len(header)} fields in each line",
            next_step="A comma inside a value needs quotes around the value",
        )
    frame: pd.DataFrame = table.to_pandas()
    frame.columns = pd.Index([header[i] for i in kept])
    return frame


def _read_parquet(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        _refuse_doubles(file.schema_arrow.names, str(path))
        there = file.schema_arrow.names
        kept = [name for name in there if columns is None or name.strip() in {*columns}]
        frame: pd.DataFrame = file.read(kept or there).to_pandas()
    return frame


def _refuse_doubles(names: Sequence[str], where: str) -> None:
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise CohortError(
            f"there are two columns {', '.join(double[:5])}",
            where=where,
            expected="column names that differ",
            next_step="Rename them",
        )


def _from_dataframe(data: Any) -> pd.DataFrame:  # noqa: ANN401
    import narwhals as nw
    from narwhals.exceptions import DuplicateError

    if isinstance(data, pd.DataFrame):
        return data.copy(deep=False)
    try:
        native = nw.from_native(data, eager_only=True)
    except TypeError as error:
        raise CohortError(
            f"{type(data).__name__} is no table",
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

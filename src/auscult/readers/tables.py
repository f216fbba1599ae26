"""Tables from files and dataframes, and their columns as text or numbers with missing values.

Nothing is guessed about a value before its column is looked at as a whole: files are read as text.
Messages never quote a cell, because a cell may be an identifier.
"""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.errors import CohortError, one_of

ALWAYS_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
SUFFIXES = (".csv", ".csv.gz", ".parquet")


def read_table(data: Any) -> pd.DataFrame:  # noqa: ANN401
    """Read a file or take a dataframe.

    Parameters
    ----------
    data : path-like or dataframe
        ``.csv``, ``.csv.gz`` (UTF-8, comma, header line; read as text), ``.parquet``, or any
        dataframe that narwhals knows (pandas, polars, pyarrow, ...).

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
        frame, where = _read_file(Path(data)), Path(data).name
    else:
        frame, where = _from_dataframe(data), "table"
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    double = frame.columns[frame.columns.duplicated()].unique()
    if len(double):
        raise CohortError(
            f"there are two columns {', '.join(map(str, double[:5]))}",
            where=where,
            expected="column names that differ",
        )
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


def texts(column: pd.Series[Any], missing: Iterable[str] = ()) -> NDArray[np.object_]:
    """Values as stripped text, None where missing.

    Whole numbers lose their ".0", which dataframes add as soon as a value is missing.
    """
    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else "O"
    absent = column.isna().to_numpy(dtype=bool)
    if kind == "f":
        whole = [
            str(int(value)) if not gone and value.is_integer() else str(value)
            for value, gone in zip(column.tolist(), absent.tolist(), strict=True)
        ]
        text = pd.Series(whole, dtype=object)
    else:
        text = column.astype(object).map(lambda value: str(value).strip())
    gone = absent | text.isin([*ALWAYS_MISSING, *missing]).to_numpy(dtype=bool)
    result = np.array(text.tolist(), dtype=object)
    result[gone] = None
    return result


def numbers(column: pd.Series[Any], missing: Iterable[str] = ()) -> tuple[NDArray[np.float64], int]:
    """Values as numbers, NaN where missing, and how many are no numbers.

    Returns
    -------
    values : float64 array
        NaN where missing or no number.
    unparsable : int
    """
    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else "O"
    if kind in "iuf" and not missing:
        return column.to_numpy(dtype=np.float64), 0
    text = texts(column, missing)
    absent = np.array([value is None for value in text.tolist()], dtype=bool)
    parsed = pd.to_numeric(pd.Series(text, dtype=object), errors="coerce")
    values = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
    return values, int((np.isnan(values) & ~absent).sum())


def _read_file(path: Path) -> pd.DataFrame:
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise CohortError(
            "this kind of file is not read", where=str(path), expected=" or ".join(SUFFIXES)
        )
    try:
        return pd.read_parquet(path) if name.endswith(".parquet") else _read_csv(path)
    except FileNotFoundError as error:
        raise CohortError(
            "there is no such file", where=str(path), next_step="Check the path and its folder"
        ) from error
    except UnicodeDecodeError as error:
        raise CohortError(
            "it is not UTF-8 text",
            where=str(path),
            next_step="Convert it: iconv -f latin1 -t utf8 OLD.csv > NEW.csv",
        ) from error
    except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        text = str(error)
        if "CSV parse error" in text:
            what = "it cannot be read as CSV: lines differ in their number of fields"
        elif "UTF8" in text or "UTF-8" in text:
            what = "it is not UTF-8 text"
        else:
            what = f"it cannot be read ({type(error).__name__})"
        raise CohortError(
            what,
            where=str(path),
            expected="a whole file that you may read; a CSV in UTF-8 with commas, a header line "
            "and as many fields in each line",
        ) from error


def _read_csv(path: Path) -> pd.DataFrame:
    """Read all fields as text. By Arrow, which refuses ragged lines; pandas fills them."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as handle:
        header = next(csv.reader(handle), None)
    if not header:
        raise CohortError("the file is empty", where=str(path), expected="a header line")
    names = [str(i) for i in range(len(header))]
    table = arrow_csv.read_csv(
        str(path),
        read_options=arrow_csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )
    frame: pd.DataFrame = table.to_pandas()
    frame.columns = pd.Index(header)
    return frame


def _from_dataframe(data: Any) -> pd.DataFrame:  # noqa: ANN401
    import narwhals as nw

    if isinstance(data, pd.DataFrame):
        return data.copy(deep=False)
    try:
        native = nw.from_native(data, eager_only=True)
    except TypeError as error:
        raise CohortError(
            f"{type(data).__name__} is no table",
            where="table",
            expected="a path or a dataframe (pandas, polars, pyarrow)",
        ) from error
    frame: pd.DataFrame = native.to_pandas()
    return frame

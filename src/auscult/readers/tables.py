"""Tables from files and dataframes, and their columns as text or numbers with missing values.

Nothing is guessed about a value before its column is looked at as a whole: files are read as text.
Messages never quote a cell, because a cell may be an identifier.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError, one_of
from auscult.base.opening import refuse_special
from auscult.readers.delimited import SEMICOLONS, dialect_of, without_headers, without_units
from auscult.readers.quantities import Decimal, canonical
from auscult.readers.values import ALWAYS_MISSING, numbers, texts

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
NOTES = "auscult_notes"  # in a frame's attrs: what reading it changed
TYPED = "auscult_typed"  # in a frame's attrs: columns whose source has types
NOT_UTF8 = "it is not UTF-8 text"
CONVERT = "Convert it: iconv -f WINDOWS-1252 -t UTF-8 OLD.csv > NEW.csv"
OTHERS = {
    ".xlsx": "read_excel",
    ".xls": "read_excel",
    ".ods": "read_excel",
    ".sas7bdat": "read_sas",
    ".xpt": "read_sas",
    ".sav": "read_spss",
    ".dta": "read_stata",
    ".feather": "read_feather",
    ".arrow": "read_feather",
    ".orc": "read_orc",
    ".json": "read_json",
}
# How files of other kinds begin, what they are, and how their names should end.
BEGINNINGS = (
    (b"\x1f\x8b", "a file packed by gzip", ".gz"),
    (b"PK\x03\x04", "a spreadsheet (.xlsx) or another zip archive", ".zip"),
    (b"PAR1", "a Parquet file", ".parquet"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls)", ".xls"),
    (b"BZh", "a file packed by bzip2", ".bz2"),
    (b"\xfd7zXZ", "a file packed by xz", ".xz"),
    (b"%PDF", "a PDF", ".pdf"),
)
ROW_NUMBERS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
CSV_EXPECTED = (
    "a complete, readable file: UTF-8 or UTF-16, a header line, closed quotes, the same number of "
    "fields in each line"
)


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
        dataframe that narwhals knows (pandas, polars, pyarrow, ...).
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
    if isinstance(data, str | os.PathLike):
        frame, where = _read_path(Path(data), columns, delimiter, notes), Path(data).name
    else:
        frame, where = _from_dataframe(data), "table"
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    _refuse_doubles(frame.columns.tolist(), where)
    if not len(frame):
        raise CohortError("it has no rows", where=where, expected="one row per record")
    frame = frame.reset_index(drop=True)
    tokens = {*ALWAYS_MISSING, *missing}
    if "" not in (columns or ()):  # asked for by its empty name, as an owner's table has it
        frame, more = without_row_numbers(frame, where)
        notes += more
    if isinstance(data, str | os.PathLike) and _is_text(Path(data)):
        frame, more = without_headers(frame)
        notes += more
        frame, more = without_units(frame, tokens)
        notes += more
    read = frame
    semicolons = any(SEMICOLONS in note for note in notes)
    frame, more = canonical(frame, sorted(tokens), decimal, where, semicolons=semicolons)
    typed = [] if isinstance(data, str | os.PathLike) and _holds_text(Path(data)) else [*frame]
    # Text that was read as numbers, such as decimal commas, is no longer what the source holds.
    frame.attrs[TYPED] = Kept(n for n in typed if read is frame or read[n].equals(frame[n]))
    frame.attrs[NOTES] = Kept([*notes, *more])
    return frame


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
                expected=one_of(name, map(str, frame.columns)),
            )


def _holds_text(path: Path) -> bool:
    """Whether a file, or a file of a folder, is text and so has no types."""
    files = path.iterdir() if path.is_dir() else [path]
    return any(one.name.lower().endswith(TEXT_SUFFIXES) for one in files)


def _is_text(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(TEXT_SUFFIXES)


def _read_path(
    path: Path, columns: Sequence[str] | None, delimiter: str | None, notes: list[str]
) -> pd.DataFrame:
    """A file, or the files of a folder one below the other."""
    if not path.is_dir():
        return _read_file(path, columns, delimiter, notes)
    there = sorted(one for one in path.iterdir() if not one.name.startswith((".", "_")))
    parts = [one for one in there if one.is_file() and one.name.lower().endswith(SUFFIXES)]
    if not parts or len(parts) < len(there):
        raise CohortError(
            f"{len(parts)} of the {len(there)} entries of this folder are tables"
            if there
            else "the folder is empty",
            where=str(path),
            expected=f"part files of one table ({', '.join(SUFFIXES)}) and nothing else",
        )
    frames: list[pd.DataFrame] = []
    for part in parts:
        own: list[str] = []
        frame = _read_file(part, columns, delimiter, own)
        if frames and sorted(map(str, frame.columns)) != sorted(map(str, frames[0].columns)):
            raise CohortError(
                f"its columns differ from those of {parts[0].name}",
                where=str(part),
                expected="part files of one table",
            )
        frames.append(frame if not frames else frame[frames[0].columns])
        notes += [note for note in own if note not in notes]
    notes.append(f"{len(parts)} part files were concatenated in the order of their names")
    return pd.concat(frames, ignore_index=True)


def _read_file(
    path: Path, columns: Sequence[str] | None, delimiter: str | None, notes: list[str]
) -> pd.DataFrame:
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        reader = OTHERS.get(path.suffix.lower())
        raise CohortError(
            "this kind of file is not supported",
            where=str(path),
            expected=" or ".join(SUFFIXES),
            next_step=f'Convert it in Python: pandas.{reader}("{path.name}")'
            f'.to_parquet("{path.stem}.parquet")'
            if reader
            else "",
        )
    if path.exists():
        refuse_special(path, str(path), CohortError)
        _refuse_other_kind(path)
    # Arrow's messages quote the line they fail on, which may name a patient: no error that it
    # raises is passed on or chained, since a traceback would print it.
    try:
        if name.endswith(".parquet"):
            return _read_parquet(path, columns)
        return _read_csv(path, columns, delimiter, notes)
    except CohortError:
        raise
    except FileNotFoundError:
        what, next_step = "there is no such file", "Check the path and its folder"
    except UnicodeDecodeError:
        what, next_step = _not_utf8(path)
    except zlib.error:
        what, next_step = "the compressed file is damaged", "Copy it again"
    except PermissionError:
        what, next_step = "you may not read it", "Ask for the right to read it"
    except MemoryError:
        what, next_step = "it is larger than the available memory", "Use a machine with more memory"
    except Exception as error:  # whatever the file holds
        what, next_step = "it cannot be read: damaged, or another kind of file", ""
        if "UTF8" in str(error) or "UTF-8" in str(error) or "UTF-16" in str(error):
            what, next_step = _not_utf8(path)
    expected = "a whole Parquet file" if name.endswith(".parquet") else CSV_EXPECTED
    raise CohortError(what, where=str(path), expected=expected, next_step=next_step)


def _refuse_other_kind(path: Path) -> None:
    """Raise where a file begins as another kind than its name says."""
    with contextlib.suppress(OSError), path.open("rb") as handle:
        start = handle.read(8)
        for magic, what, ending in BEGINNINGS:
            if start.startswith(magic) and not path.name.lower().endswith(ending):
                raise CohortError(
                    f"its name says one thing, and it begins as {what} does",
                    where=str(path),
                    expected=" or ".join(SUFFIXES),
                    next_step=f"Rename it so that it ends with {ending}"
                    if ending in (".gz", ".parquet")
                    else "Unpack it, or export it as CSV from the program that made it",
                )


def _not_utf8(path: Path) -> tuple[str, str]:
    """What is wrong with a text that is not UTF-8, and what to do."""
    if path.name.lower().endswith(".gz"):
        return NOT_UTF8, CONVERT
    lines = mixed = 0
    first = 0
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                mixed += 1
            except UnicodeDecodeError:
                lines += 1
                first = first or number
    if not mixed or not lines:
        return NOT_UTF8, CONVERT
    what = f"{lines} lines are not UTF-8, the first is line {first}, and {mixed} others are"
    return what, "Convert its parts, which were written in different encodings, before joining them"


def _read_csv(
    path: Path, columns: Sequence[str] | None, delimiter: str | None, notes: list[str]
) -> pd.DataFrame:
    """Read all fields as text. By Arrow, which tells of ragged lines; pandas fills them."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    zipped = path.name.lower().endswith(".gz")
    dialect = dialect_of(path, zipped, delimiter)
    notes += dialect.notes
    header = list(dialect.header)
    if columns is None and len(header) > 1 and not header[-1].strip():
        raise CohortError(
            "the header ends with a delimiter: its last column has no name",
            where=str(path),
            expected="a name for each column",
            next_step="Remove the last delimiter of each line, or name the column",
        )
    ragged: list[int | None] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row.number)
        return "skip"

    names = [str(i) for i in range(len(header))]
    kept = [i for i, name in enumerate(header) if columns is None or name.strip() in {*columns}]
    kept = kept or list(range(len(header)))
    encoding = "utf-8" if dialect.encoding == "utf-8-sig" else dialect.encoding
    with pa.input_stream(str(path), compression="gzip" if zipped else None) as stream:
        table = arrow_csv.read_csv(
            stream,
            read_options=arrow_csv.ReadOptions(
                column_names=names, skip_rows=dialect.lines, use_threads=False, encoding=encoding
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
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
            next_step="A comma inside a value needs quotes around the value"
            if dialect.delimiter == ","
            else "A delimiter inside a value needs quotes around the value",
        )
    frame: pd.DataFrame = table.to_pandas()
    frame.columns = pd.Index([header[i] for i in kept])
    return frame


def _read_parquet(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        _refuse_doubles(file.schema_arrow.names, str(path))
        there = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
        kept = [name for name in there if columns is None or name.strip() in {*columns}]
        # An index that pandas kept is a column like others: it is often the patient.
        frame: pd.DataFrame = file.read(kept or there).to_pandas(ignore_metadata=True)
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

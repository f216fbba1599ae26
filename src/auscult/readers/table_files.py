"""Files of tables: delimited text and Parquet, alone or in parts in a folder.

Messages never quote a line, because it may name a patient.
"""

from __future__ import annotations

import contextlib
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from auscult.base.errors import CohortError
from auscult.base.opening import refuse_special
from auscult.readers.delimited import dialect_of
from auscult.readers.header import NOT_LISTED, like_a_record

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
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
MOST_NAMED = 6  # columns in a message
CSV_EXPECTED = (
    "a complete, readable file: UTF-8 or UTF-16, a header line, closed quotes, the same number of "
    "fields in each line"
)


def holds_text(path: Path) -> bool:
    """Whether a file, or a file of a folder, is text and so has no types."""
    files = path.iterdir() if path.is_dir() else [path]
    return any(one.name.lower().endswith(TEXT_SUFFIXES) for one in files)


def is_text(path: Path) -> bool:
    """Whether a path is one of text, or a folder."""
    return path.is_dir() or path.name.lower().endswith(TEXT_SUFFIXES)


def read_path(
    path: Path, columns: Sequence[str] | None, delimiter: str | None, notes: list[str]
) -> pd.DataFrame:
    """Read a file, or the files of a folder one below the other.

    Parameters
    ----------
    path : Path
    columns : sequence of str, optional
        Only these are read, where the file has any of them.
    delimiter : str, optional
        Of delimited text.
    notes : list of str
        What reading changed is added to it.

    Raises
    ------
    CohortError
        It is missing or unreadable, or files of the folder differ in their columns.
    """
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


def read_below(
    paths: Sequence[Path], columns: Sequence[str] | None, delimiter: str | None, notes: list[str]
) -> pd.DataFrame:
    """Read tables that stand one below the other, with the columns of the first.

    Parameters
    ----------
    paths : sequence of Path
        As in :func:`read_path`.
    columns, delimiter, notes
        As there.

    Raises
    ------
    CohortError
        One of them cannot be read, or lacks columns of the first, or is text where others have
        types.
    """
    first, *others = paths
    frames = [read_path(first, columns, delimiter, notes)]
    names = [str(name).strip() for name in frames[0].columns]
    for path in others:
        if holds_text(path) != holds_text(first):
            raise CohortError(
                f"it is another kind of file than {first.name}",
                where=str(path),
                expected="text beside text, or Parquet beside Parquet",
            )
        own: list[str] = []
        frame = read_path(path, columns, delimiter, own)
        frame.columns = pd.Index([str(name).strip() for name in frame.columns])
        refuse_doubles(frame.columns.tolist(), path.name)
        lacking = [name for name in names if name not in frame.columns]
        if lacking:
            shown = ", ".join(f'"{name}"' for name in lacking[:MOST_NAMED])
            more = f" and {len(lacking) - MOST_NAMED} more" if lacking[MOST_NAMED:] else ""
            raise CohortError(
                f"it lacks columns of {first.name}: {shown}{more}",
                where=str(path),
                expected="the same columns, read in the same way",
            )
        beside = frame.shape[1] - len(names)
        if beside > 0:
            notes.append(f"{beside} columns of {path.name} that {first.name} lacks were left out")
        frames.append(frame[names].set_axis(frames[0].columns, axis=1))
        notes += [note for note in own if note not in notes]
        notes.append(f"{len(frame)} rows of {path.name} follow those of {first.name}")
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
        refuse_doubles(file.schema_arrow.names, str(path))
        there = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
        kept = [name for name in there if columns is None or name.strip() in {*columns}]
        # An index that pandas kept is a column like others: it is often the patient.
        frame: pd.DataFrame = file.read(kept or there).to_pandas(ignore_metadata=True)
    return frame


def refuse_doubles(names: Sequence[str], where: str) -> None:
    """Raise a CohortError where two columns have one name."""
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise CohortError(
            "two columns have the same name"
            if like_a_record(names)
            else f"there are two columns {', '.join(double[:5])}",
            where=where,
            expected=NOT_LISTED if like_a_record(names) else "column names that differ",
            next_step="Rename them",
        )

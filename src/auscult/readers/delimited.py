"""Delimited text as programs write it: encoding, delimiter, titles before the header, units below.

What is found is told in a note; where two readings fit, the table is refused.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from auscult.base.errors import CohortError

SEMICOLONS = "semicolons"
DELIMITERS = {",": "commas", ";": SEMICOLONS, "\t": "tabulators", "|": "bars"}
LOOKED_AT = 200  # lines
FEWEST_LOOKED_AT = 20  # of long lines
MOST_TITLES = 20
HEAD = 1 << 16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a file is written.

    Attributes
    ----------
    encoding : str
    delimiter : str
    header : tuple of str
    lines : int
        Physical lines up to the end of the header.
    notes : tuple of str
    """

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    lines: int
    notes: tuple[str, ...]


def dialect_of(path: Path, zipped: bool, delimiter: str | None = None) -> Dialect:
    """Look at the first lines of a file.

    Parameters
    ----------
    path : Path
    zipped : bool
        Whether it is compressed by gzip.
    delimiter : str, optional
        As declared; found in the first lines when None.

    Raises
    ------
    CohortError
        The file is empty, or two delimiters fit it.
    UnicodeDecodeError
        It is not UTF-8 and says of no other encoding.
    """
    opened = gzip.open if zipped else open
    with opened(path, "rb") as raw:
        start = raw.read(HEAD)
    encoding = _encoding(start)
    with opened(path, "rt", encoding=encoding, newline="") as handle:
        head = []
        for line in itertools.islice(handle, LOOKED_AT):
            head.append(line)
            if len(head) >= FEWEST_LOOKED_AT and sum(map(len, head)) > HEAD:
                break
    notes = [] if encoding in ("utf-8", "utf-8-sig") else [f"read as {encoding.upper()}"]
    if not any(line.strip() for line in head):
        raise CohortError("the file is empty", where=str(path), expected="a header line")
    if head[0].lower().startswith("sep=") and len(head[0].strip()) == 5:
        delimiter, skipped = head[0].strip()[4], 1  # Excel's own word for it
    else:
        skipped = 0
    body = head[skipped:]
    chosen = delimiter or _delimiter(body, path)
    if delimiter is None and chosen != ",":
        notes.append(f"fields are separated by {DELIMITERS[chosen]}")
    titles, header, lines = _header(body, chosen, path)
    if titles:
        notes.append(f"{titles} lines before the header were skipped")
    return Dialect(
        encoding=encoding,
        delimiter=chosen,
        header=header,
        lines=skipped + lines,
        notes=tuple(notes),
    )


def _encoding(start: bytes) -> str:
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    if len(start) >= 4 and b"\0" in start:
        even, odd = start[0:2000:2], start[1:2000:2]
        if odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.1 * len(even):
            return "utf-16-le"
        if even.count(0) > 0.4 * len(even) and odd.count(0) < 0.1 * len(odd):
            return "utf-16-be"
    return "utf-8"


def _rows(body: list[str], delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(body), newline=""), delimiter=delimiter))


def _delimiter(body: list[str], path: Path) -> str:
    """The delimiter that parts nearly all lines into as many fields, more than one."""
    fitting: dict[str, int] = {}
    text = "".join(body)
    for one in DELIMITERS:
        if one not in text:
            continue
        try:
            rows = [row for row in _rows(body, one) if row]
        except csv.Error:
            continue
        rows = rows[:-1] if len(rows) > 2 and len(body) >= FEWEST_LOOKED_AT else rows
        fields, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        if fields > 1 and count >= 0.9 * len(rows) - min(MOST_TITLES, len(rows) // 4):
            fitting[one] = fields
    if not fitting or list(fitting) == [","]:
        return ","
    if len(fitting) == 1:
        return next(iter(fitting))
    if "," in fitting and fitting[","] > 2 * max(n for d, n in fitting.items() if d != ","):
        return ","
    # Decimal commas: the header has none, or fewer fields by comma than by the other.
    first = {one: len(_rows(body[:1], one)[0]) if body[0].strip() else 0 for one in fitting}
    whole = [one for one in fitting if first[one] == fitting[one]]
    if len(whole) == 1:
        return whole[0]
    raise CohortError(
        f"its lines can be separated by {' or by '.join(DELIMITERS[one] for one in fitting)}",
        where=str(path),
        expected="one delimiter",
        next_step='Declare it: delimiter = ";" under [cohort]',
    )


def _header(body: list[str], delimiter: str, path: Path) -> tuple[int, tuple[str, ...], int]:
    """Rows before the header, the header, and physical lines up to its end."""
    reader = csv.reader(io.StringIO("".join(body), newline=""), delimiter=delimiter)
    rows = [(row, reader.line_num) for row in reader]
    full = [len(row) for row, _ in rows if row]
    fields = Counter(full).most_common(1)[0][0]
    titles = 0
    for row, lines in rows:
        if not row or (fields > 1 and not any(field.strip() for field in row)):
            continue
        narrow = len([field for field in row if field.strip()])
        if fields > 2 and narrow <= max(1, fields // 4) and titles < MOST_TITLES:
            titles += 1
            continue
        return titles, tuple(row), lines
    raise CohortError("there is no header line", where=str(path))


def without_headers(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table without lines that repeat the header, as files put one below the other have."""
    if frame.shape[1] < 2 or not len(frame):
        return frame, []
    names = [str(name) for name in frame.columns]
    again = (frame.iloc[:, 0].str.strip() == names[0]).to_numpy(dtype=bool, na_value=False).copy()
    for row in again.nonzero()[0].tolist():
        again[row] = [str(v).strip() for v in frame.iloc[row].tolist()] == names
    count = int(again.sum())
    if not count:
        return frame, []
    return frame[~again].reset_index(drop=True), [
        f"{count:,} lines repeat the header and were passed over"
    ]


def without_units(frame: pd.DataFrame, missing: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """The table without a first row of units below the header.

    Two columns or more whose other values are all numbers must hold a word there, and no such
    column a number: one alone may be a stray value of a record.
    """
    if len(frame) < 4:
        return frame, []
    top = [str(v).strip() for v in frame.iloc[0].tolist()]
    units = [one not in missing and not _is_number(one) and _unitlike(one) for one in top]
    if sum(units) < 2:
        return frame, []
    below = frame.iloc[1 : LOOKED_AT + 1]
    words, figures = 0, 0
    for j, value in enumerate(top):
        column = [str(v).strip() for v in below.iloc[:, j].tolist()]
        numbers = [_is_number(v) for v in column if v not in missing]
        if len(numbers) < 3 or sum(numbers) < 0.9 * len(numbers):
            continue
        if value in missing:
            continue
        if _is_number(value) or value[0] in "<>" or value.startswith("#"):
            figures += 1
        elif _unitlike(value):
            words += 1
    if not words or figures:
        return frame, []
    if words >= 2:
        return frame.iloc[1:].reset_index(drop=True), [
            "the line of units below the header is not a record and was skipped"
        ]
    return frame, []


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _unitlike(text: str) -> bool:
    bare = text.strip("[]()")
    return len(bare) <= 16 and any(c.isalpha() or c in "%°" for c in bare)

"""What the descriptions share: finding files, joining, keeping count, values that mean the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.cohort import LeftOut
from auscult.cohort.cohort import SEVERAL
from auscult.readers.tables import read_table
from auscult.readers.values import texts

_WHITE = re.compile(r"\b(WHITE|CAUCASIAN)\b")
_BLACK = re.compile(r"\b(BLACK|AFRICAN AMERICAN)\b")
_ASIAN = re.compile(r"\bASIAN\b")  # a word of its own: "Caucasian" holds the letters
_UNKNOWN = re.compile(
    r"UNKNOWN|UNABLE TO OBTAIN|DECLINE|REFUSED|NOT RECORDED|UNREPORTED|UNAVAILABLE"
)


def find(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of several places that exists below a folder.

    Parameters
    ----------
    root : Path
    names : sequence of str
        Paths below `root`, in the order of preference.
    what : str
        What is looked for, for the message.

    Raises
    ------
    CohortError
        None does, or the folder is not there.
    """
    found = look_for(root, names)
    if found is None:
        raise CohortError(
            f"{what} is missing",
            where=str(root),
            expected=" or ".join(names),
            next_step="cohort.root is the folder that the owner's download made",
        )
    return found


def look_for(root: Path, names: Sequence[str]) -> Path | None:
    """As :func:`find`, None where there is none.

    Raises
    ------
    CohortError
        The folder is not there.
    """
    if not root.is_dir():
        raise CohortError("there is no such folder", where=str(root), next_step="Check cohort.root")
    return next((root / name for name in names if (root / name).is_file()), None)


def columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Columns of a table as stripped text, empty where missing.

    Raises
    ------
    CohortError
        The table cannot be read, or lacks one of them.
    """
    frame = read_table(path, columns=names)
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise CohortError(
            f'there is no column "{absent[0]}"',
            where=path.name,
            expected=f"the owner's columns: {', '.join(names)}",
            next_step="Use the file as distributed by the owner",
        )
    return pd.DataFrame(
        {name: ["" if v is None else str(v) for v in texts(frame[name])] for name in names}
    )


class Sieve:
    """Leaves rows out of a table and keeps count of why."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.left_out: list[LeftOut] = []

    def drop(self, condition: pd.Series[bool] | NDArray[np.bool_], reason: str) -> None:
        """Leave out the rows where the condition holds."""
        away = np.asarray(condition, dtype=bool)
        if away.any():
            self.left_out.append(LeftOut(reason, int(away.sum())))
            self.frame = self.frame[~away]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the owner's table that stay."""
        return self.frame.index.to_numpy(dtype=np.int64)


def whole_numbers(column: pd.Series[str]) -> pd.Series[str]:
    """Identifiers that a spreadsheet or a dataframe turned into "15709.0", as "15709"."""
    return column.str.replace(r"\.0+$", "", regex=True)


def race(text: str) -> str:
    """A race in the owner's words as one of White, Black, Asian, Other; empty where unknown.

    The study's groups, with one difference: what is unknown is not thrown together with Other.
    """
    upper = text.upper()
    if not upper or _UNKNOWN.search(upper):
        return ""
    for pattern, name in ((_BLACK, "Black"), (_WHITE, "White"), (_ASIAN, "Asian")):
        if pattern.search(upper):
            return name
    return "Other"


def agreed(owner: pd.Series[str], values: pd.Series[str]) -> pd.Series[str]:
    """One value per owner: what its rows agree on, "several values", empty where none tells.

    Parameters
    ----------
    owner, values : Series of str
        One entry per row.

    Returns
    -------
    Series of str, indexed by owner
    """
    told = values != ""
    grouped = values[told].groupby(owner[told])
    result = grouped.min()
    result[result != grouped.max()] = SEVERAL
    return result


def ever(owner: pd.Series[str], present: pd.Series[bool], yes: str, no: str) -> pd.Series[str]:
    """Per row, whether any row of its owner has it.

    Parameters
    ----------
    owner : Series, length rows
        Whom each row belongs to.
    present : Series of bool, length rows
    yes, no : str
        The words for the answer.
    """
    any_row = present.groupby(owner).transform("any")
    return pd.Series(np.where(any_row, yes, no), index=owner.index, dtype=object)


def mapped(column: pd.Series[str], change: Callable[[str], str]) -> pd.Series[str]:
    """Apply a function to each distinct text once."""
    return column.map({value: change(value) for value in column.unique().tolist()}).astype(object)


def flags(column: pd.Series[str], yes: Iterable[str], no: Iterable[str]) -> NDArray[np.float64]:
    """1 and 0 where a text says so, NaN elsewhere.

    Parameters
    ----------
    column : Series of str
    yes, no : iterable of str
        The texts that mean 1 and 0.
    """
    lower = column.str.lower()
    result = np.full(len(column), np.nan)
    result[lower.isin([*yes]).to_numpy()] = 1
    result[lower.isin([*no]).to_numpy()] = 0
    return result

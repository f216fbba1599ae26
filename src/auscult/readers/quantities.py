"""Numbers and dates as people and laboratory systems write them, told column by column.

A comma is a decimal sign or it parts thousands, and "1,234" alone does not tell which. A column is
read in the one way that all its values allow; where they allow both, another column of the table
decides, or the user (``decimal`` under ``[cohort]``). Nothing is decided by a single cell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.readers.arrow import has

Decimal = Literal[",", "."]
STRAYS = 0.05  # a larger share of values that are no numbers is a decision of the user's
FEW_STRAYS = 3
FEW_WORDS = 2
FEW_NUMBERS = 20  # as many different numbers may be codes
FEWEST_BESIDE_LIMITS = 5
FEWEST_DOTTED = 10
KEY = 'decimal = "," or decimal = "." under [cohort]'
GAPS = "'\u2019\u00a0\u202f\u2009 "
_MARKED = re.compile(rf"\d[,{GAPS}]\d|\d\.\d{{3}}\.\d")
_MAYBE = re.compile(rf"\d[.,{GAPS}]\d")

_LIMIT = re.compile(r"([<>≤≥]=?)\s*")
_COMMA = re.compile(rf"[+-]?(?:\d+|[1-9]\d{{0,2}}(?:[.{GAPS}]\d{{3}})+),\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_DOTS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")
_PARTED = re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:[{GAPS}]\d{{3}})+(?:[.,]\d+)?")
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_UNIT = re.compile(r"[<>≤≥]?=?\s*[+-]?\d[\d.,]*\s*([^\d\s.,\-/:][^\d]{0,11})")
_CODE = re.compile(r"[A-Za-z]{1,3}-?\d[\w.\-/]*")
_DATES = (
    re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?.{0,6}"),
    re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?"),
    re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d{2})(?:,? \d{1,2}:\d{2}(?::\d{2})?)?"),
    re.compile(
        r"(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d{2})(?:,? \d{1,2}:\d{2}(?::\d{2})?(?: [AP]M)?)?"
    ),
    re.compile(r"\d{1,2}[- ]?[A-Za-z]{3}[- ]?(?:\d{4}|\d{2})(?:[: ]\d{1,2}:\d{2}(?::\d{2})?)?"),
)
_YEAR = r"(?:0\d{3}|1[0-6]\d\d|22[6-9]\d|2[3-9]\d\d|[3-9]\d{3})"
_FAR = re.compile(rf"{_YEAR}[-/]|\d{{1,2}}[./-]\d{{1,2}}[./-]{_YEAR}(?!\d)")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Written:
    """How a column's different values are written."""

    comma: int = 0  # only a decimal comma explains it
    thousands: int = 0  # only commas between thousands explain it
    either: int = 0
    dots: int = 0  # groups of three behind points: thousands, or three decimals
    several_dots: int = 0
    points: int = 0  # decimal points that cannot be thousands
    parted: int = 0  # spaces or apostrophes between thousands
    plain: int = 0
    other: int = 0

    @property
    def told(self) -> bool:
        return bool(self.comma or self.thousands or self.either or self.parted or self.several_dots)


def canonical(
    frame: pd.DataFrame,
    missing: Sequence[str],
    decimal: Decimal | None,
    where: str,
    *,
    semicolons: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Number columns that are written with commas or parted thousands, with points and no parts.

    Parameters
    ----------
    frame : DataFrame
    missing : sequence of str
        Values that mean missing.
    decimal : "," or "." or None
        What parts decimals, where it was declared.
    where : str
    semicolons : bool
        Whether semicolons part fields, as where commas part decimals.

    Returns
    -------
    frame : DataFrame
        The same object where nothing was to be changed.
    notes : list of str

    Raises
    ------
    CohortError
        Commas that may be either, and nothing tells which.
    """
    absent = set(missing)
    found: dict[int, tuple[list[str], _Written]] = {}
    points = 0
    marked = [j for j, (_, one) in enumerate(frame.items()) if _holds(one, _MARKED)]
    if marked or semicolons or decimal == ",":  # only then do points have two meanings
        marked = [j for j, (_, one) in enumerate(frame.items()) if _holds(one, _MAYBE)]
    for j in marked:
        values = [v.strip() for v in frame.iloc[:, j].tolist() if isinstance(v, str)]
        distinct = [v for v in pd.unique(pd.Series(values, dtype=object)) if v not in absent]
        written = _written([_LIMIT.sub("", v, count=1) for v in distinct])
        numbers = len(distinct) - written.other
        points += written.points if not written.comma else 0
        if numbers and (written.other <= FEW_STRAYS or written.other <= STRAYS * len(distinct)):
            found[j] = (distinct, written)
    proved = {
        sign
        for _, one in found.values()
        for sign, count in ((",", one.comma), (".", one.thousands))
        if count
    }
    table = decimal or (proved.pop() if len(proved) == 1 else None)
    changed: dict[int, str] = {}
    for j, (_, one) in found.items():
        name = str(frame.columns[j])
        if (
            semicolons
            and table is None
            and not points
            and not one.told
            and one.dots >= FEWEST_DOTTED
        ):
            raise _three_digits("points", f"{where}, column {name}")
        kind = _decide(one, table, decimal, points, f"{where}, column {name}")
        if kind is not None:
            changed[j] = kind
    if not changed:
        return frame, []
    columns = [frame.iloc[:, j] for j in range(frame.shape[1])]
    for j, kind in changed.items():
        columns[j] = _converted(columns[j], found[j][0], kind)
    result = pd.concat(columns, axis=1)
    result.columns = frame.columns
    notes = []
    for kind, words in (
        (",", "commas were read as decimal signs"),
        (".", "commas were read as thousands separators"),
        ("", "spaces or apostrophes were read as thousands separators"),
    ):
        names = [str(frame.columns[j]) for j, one in changed.items() if one == kind]
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            notes.append(f"{', '.join(names[:5])}{more}: {words}")
    return result, notes


def _holds(column: pd.Series[Any], pattern: re.Pattern[str]) -> bool:
    """Whether a text of a column has a part that matches; never in columns of numbers."""
    found = has(column, pattern.pattern)
    return bool(pattern.search(_texts(column))) if found is None else found


def _texts(column: pd.Series[Any]) -> str:
    """All texts of a column one below the other; nothing for columns of numbers."""
    if column.dtype.kind in "biufcmM" or isinstance(column.dtype, pd.CategoricalDtype):
        return ""
    values = column.tolist()
    try:
        return "\n".join(values)
    except TypeError:  # not all of them are texts
        return "\n".join(v for v in values if isinstance(v, str))


def _written(values: Sequence[str]) -> _Written:
    count = dict.fromkeys(_Written.__dataclass_fields__, 0)
    for value in values:
        comma, thousands = _COMMA.fullmatch(value), _THOUSANDS.fullmatch(value)
        if comma and thousands:
            count["either"] += 1
        elif comma:
            count["comma"] += 1
        elif thousands:
            count["thousands"] += 1
        elif _DOTS.fullmatch(value):
            count["dots"] += 1
            count["several_dots"] += value.count(".") > 1
        elif _PARTED.fullmatch(value):
            count["parted"] += 1
        elif _PLAIN.fullmatch(value):
            count["plain"] += 1
            count["points"] += "." in value
        else:
            count["other"] += 1
    return _Written(**count)


def _decide(
    one: _Written, table: str | None, decimal: Decimal | None, points: int, where: str
) -> str | None:
    """What the column's signs are: "," decimal commas, "." commas between thousands, "" gaps."""
    expected = "one way of writing numbers"
    if one.comma and (one.thousands or one.several_dots > one.dots):
        raise CohortError(
            "commas separate decimals in some values and thousands in others", where=where
        )
    if (one.comma and decimal == ".") or (one.thousands and decimal == ","):
        raise CohortError(
            f'{one.comma + one.thousands} different numbers do not fit decimal = "{decimal}"',
            where=where,
            expected=expected,
        )
    if one.comma or one.several_dots:
        if one.comma and one.dots and one.points:
            raise CohortError(
                "points and commas both separate decimals, and points may separate thousands too",
                where=where,
                expected=expected,
                next_step="Write the column in one way",
            )
        return ","
    if one.thousands:
        return "."
    if one.either:
        if table is None:
            raise _three_digits("commas", where)
        return table
    if one.parted:
        return ","
    if one.dots and table == ",":
        if one.points:
            return None
        if decimal is None and points:
            raise CohortError(
                "points occur only before three digits, and the table has decimal commas and "
                'decimal points: "1.234" may be a little more than one, or a thousand',
                where=where,
                expected="a declaration",
                next_step=f"Declare the decimal sign: {KEY}",
            )
        return ","
    return None


def _three_digits(signs: str, where: str) -> CohortError:
    shown = "1,234" if signs == "commas" else "1.234"
    return CohortError(
        f'{signs} occur only before three digits: "{shown}" may be a little more than one, or '
        "a thousand",
        where=where,
        expected="a declaration",
        next_step=f"Declare the decimal sign: {KEY}",
    )


def _converted(column: pd.Series[Any], distinct: list[str], kind: str) -> pd.Series[Any]:
    new: dict[str, str] = {}
    for value in distinct:
        limit = _LIMIT.match(value)
        sign, bare = (limit.group(1), value[limit.end() :]) if limit else ("", value)
        text = re.sub(f"[{GAPS}]", "", bare) if _gapped(bare) else bare
        if kind == ",":
            if _COMMA.fullmatch(text):
                text = text.replace(".", "").replace(",", ".")
            elif _DOTS.fullmatch(text):
                text = text.replace(".", "")
        elif _THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        new[value] = sign + text
    values = [new.get(v.strip(), v) if isinstance(v, str) else v for v in column.tolist()]
    return pd.Series(values, index=column.index, name=column.name, dtype=object)


def _gapped(text: str) -> bool:
    return bool(_PARTED.fullmatch(text) or _COMMA.fullmatch(text))


def parse(found: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Different values as numbers, and which of them are limits ("<0.6").

    A limit is the number that it names, when at least five other numbers are in the column: a
    laboratory reports "<0.6" where it cannot measure less. Without these, "<30" is a category.

    Returns
    -------
    values : float64 array
        NaN where a value is no number.
    limits : bool array
    """
    parsed = pd.to_numeric(pd.Series(list(found), dtype=object), errors="coerce")
    values = parsed.to_numpy(dtype=np.float64, na_value=np.nan).copy()
    limits = np.zeros(len(values), dtype=np.bool_)
    bad = np.flatnonzero(np.isnan(values))
    signed = [(i, match) for i in bad.tolist() if (match := _LIMIT.match(str(found[i])))]
    if signed and len(values) - bad.size >= max(FEWEST_BESIDE_LIMITS, len(signed)):
        for i, match in signed:
            bare = str(found[i])[match.end() :]
            if _PLAIN.fullmatch(bare):
                values[i], limits[i] = float(bare), True
    return values, limits


def unit_of(found: Sequence[str]) -> str | None:
    """The one unit behind nearly all of many different numbers, or None."""
    seen = [str(value) for value in found]
    matches = [match.group(1).strip() for v in seen if (match := _UNIT.fullmatch(v))]
    if len(seen) <= FEW_NUMBERS or len(matches) < (1 - STRAYS) * len(seen):
        return None
    units = set(matches)
    return next(iter(units)) if len(units) == 1 else None


def looks_like_dates(found: Sequence[str], share: float = 1 - STRAYS) -> bool:
    """Whether such a share of values is written as dates."""
    seen = [str(value) for value in found]
    dated = sum(any(d.fullmatch(v) for d in _DATES) for v in seen)
    return dated > 0 and dated >= share * len(seen)


def dates(values: Sequence[Any], where: str) -> NDArray[np.float64]:
    """Days since 1970 of dates, NaN where there is none.

    Raises
    ------
    CohortError
        Day and month cannot be told apart, or values are no dates.
    """
    texts = [None if v is None else str(v) for v in values]
    parted = [m for v in texts if v is not None and (m := _DATES[3].fullmatch(v))]
    first = None
    if parted:
        day, month = (max(int(m.group(i)) for m in parted) > 12 for i in (1, 2))
        if day == month:
            raise CohortError(
                "day and month cannot be distinguished",
                where=where,
                expected="dates as 2024-05-31, or a day above 12 in one of them",
                next_step="Write them as year-month-day, or exclude the column",
            )
        first = day
    far = sum(v is not None and _FAR.match(v) is not None for v in texts)
    if far:
        raise CohortError(
            f"{far} dates lie before 1700 or after 2259: codes for missing or unknown",
            where=where,
            expected="dates",
            next_step="List them in cohort.missing, as they are written: missing = [...]",
        )
    dotted = any(v is not None and _DATES[2].fullmatch(v) for v in texts)
    parsed = pd.to_datetime(
        pd.Series(texts, dtype=object),
        errors="coerce",
        dayfirst=bool(first or dotted),
        format="mixed",
        utc=True,
    )
    missing = np.array([v is None for v in texts])
    wrong = int((parsed.isna().to_numpy() & ~missing).sum())
    if wrong > max(FEW_STRAYS, STRAYS * len(texts)):
        raise CohortError(f"{wrong} values are not dates", where=where, expected="dates")
    days = (parsed - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    return np.asarray(days.to_numpy(dtype=np.float64, na_value=np.nan))


def strays(
    found: Sequence[str],
    unparsable: NDArray[np.bool_],
    place: NDArray[np.integer],
    distinct: int,
    name: str,
    note: Callable[[str], None],
) -> bool:
    """Whether a column with some values that are no numbers is one of numbers all the same.

    Parameters
    ----------
    found : sequence of str
        The different values.
    unparsable : bool array, shape (different values,)
    place : int array, shape (records,)
        Which of the values each record has; -1 where missing.
    distinct : int
        Different numbers.
    name : str
    note : callable

    Raises
    ------
    CohortError
        Most values are numbers, of many kinds, and too many or too different ones are not.
    """
    present = place[place >= 0]
    count = int(unparsable[present].sum())
    wrong = [str(value) for value, bad in zip(found, unparsable, strict=True) if bad]
    kinds = len(wrong)
    if distinct <= FEW_NUMBERS or count > len(present) / 2:
        return False
    if count <= STRAYS * len(present) and (count <= FEW_STRAYS or kinds <= FEW_WORDS):
        note(
            f"{name}: {count} of its {len(present)} values are not numbers and count as missing; "
            "if they are codes, name the column in cohort.categorical"
        )
        return True
    if wrong and sum(_CODE.fullmatch(value) is not None for value in wrong) >= 0.9 * kinds:
        note(
            f"{name}: read as categories, because {count} of its {len(present)} values are codes "
            "of letters and digits"
        )
        return False
    raise CohortError(
        f"{count} of its {len(present)} values are not numbers ({kinds} different ones)",
        where=f"column {name}",
        expected="numbers, or codes; the column holds many different numbers",
        next_step="If it holds codes, name it in cohort.categorical; if it holds numbers, list "
        "what stands for missing in cohort.missing; or exclude it",
    )

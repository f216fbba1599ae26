"""Values that are easily read as something else: told, or asked about where it would matter.

One patient under two spellings, a placeholder that many patients share, identifiers that a
spreadsheet rounded, two spellings of one class, a code among measured numbers: each is read without
an error and changes what is found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.base.files import quoted_key
from auscult.readers.arrow import has

EXACT = 2.0**53  # floats beyond it skip whole numbers
NARROW = 2**24  # and so do 32-bit floats
# A name of nobody, and what spreadsheets and databases write below a table.
NOBODY = {
    *("?", "-", "--", ".", "..", "...", "#", "*", "unknown", "unk", "missing", "na", "n.a.", "n.a"),
    *("not available", "not known", "anonymous", "unbekannt", "k.a.", "keine angabe", "inconnu"),
    *("desconocido", "nil", "void", "none", "(blank)", "-1", "-9", "-99", "-999", "-9999"),
    *("total", "totals", "sum", "mean", "average", "count", "gesamt", "summe", "grand total"),
}
CODES = {float(sign * digit) for digit in (9, 99, 999, 9999, 99999, 88, 888, 8888, 77, 777, 7777)
         for sign in (1, -1)} | {-1.0, -7.0, -8.0, 7.0, 8.0}  # fmt: skip
FEWEST_CODED = 2
_ROUNDED = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+?\d{2,}")
_ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")
_POINT_ZERO = re.compile(r"([+-]?\d+)\.0+")
_MAY_DIFFER = re.compile(r"(?<![\d.,])0\d|[^\S\n]|[\"']")
_COMPACT = re.compile(r"(?:19|20|21)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_SAYS_TIME = re.compile(r"date|datum|fecha|(^|[_.\W])(dt|dob|time|timestamp|ts)($|[_.\W])", re.I)
_FRONT_UNIT = re.compile(r"([$€£¥]|[A-Z]{2,3}(?=\s?\d))\s?[+-]?\d[\d.,]*")
_TWO = re.compile(r"\d+(?:\.\d+)?\s?[/|]\s?\d+(?:\.\d+)?")
NEARLY_ALL = 0.95
FEW_DIFFERENT = 20


def folded(text: str) -> str:
    """A value without what people write differently: case, spaces, quotes, zeros around."""
    bare = "".join(text.split()).strip("\"'").casefold()
    whole = _POINT_ZERO.fullmatch(bare)
    bare = whole.group(1) if whole else bare
    return _ZEROS.sub("", bare)


def spelt_twice(values: Iterable[str]) -> list[list[str]]:
    """Values that differ in spelling alone, together."""
    found: dict[str, list[str]] = {}
    for value in values:
        found.setdefault(folded(value), []).append(value)
    return [sorted(same) for same in found.values() if len(same) > 1]


def check_patients(column: pd.Series[Any], names: NDArray[np.object_], where: str) -> list[str]:
    """Refuse identifiers that several patients share, or that were rounded; note odd spellings.

    Parameters
    ----------
    column : Series
        As it was read.
    names : object array of str, shape (records,)
    where : str

    Raises
    ------
    CohortError
        Identifiers stand for nobody, or their last digits were lost.
    """
    if column.dtype.kind == "f":
        lost = int((column.abs() > EXACT).sum())
        if lost:
            raise CohortError(
                f"{lost} identifiers are floats beyond 9,007,199,254,740,992, whose last digits "
                "are lost",
                where=where,
                expected="text or integers",
                next_step="Read the column as text where the table is made: dtype=str",
            )
    different = [str(one) for one in pd.unique(names)]
    if sum(_ROUNDED.fullmatch(one) is not None for one in different) > len(different) / 2:
        raise CohortError(
            "its identifiers are rounded numbers, as spreadsheets write long ones (1.23E+11): "
            "several patients share one",
            where=where,
            expected="identifiers with all of their digits",
            next_step="Export them as text from where they come from",
        )
    nobody = [one for one in different if one.casefold() in NOBODY]
    if nobody and not all(_number(one) is not None and float(one) < 0 for one in different):
        count = int(np.isin(names.astype(str), nobody).sum())
        raise CohortError(
            f"{count} rows have a patient that stands for nobody (such as unknown, -1, total)",
            where=where,
            expected="the patient of each row: these would be one patient",
            next_step="Remove these rows or find out whose they are",
        )
    points = [m.group(1) for one in different if (m := _POINT_ZERO.fullmatch(one))]
    both = len(set(points) & set(different))
    if both:
        raise CohortError(
            f'{both} identifiers are there with ".0" behind them and without',
            where=where,
            expected="one way of writing them: these would be two patients each",
            next_step='Take the ".0" away; it comes from files where the column has gaps',
        )
    written = "\n".join(different)
    plain = written in (written.lower(), written.upper()) and not _MAY_DIFFER.search(written)
    twice = [] if plain else spelt_twice(different)
    if not twice:
        return []
    note = (
        f"{len(twice):,} identifiers differ from others in capitals, spaces or leading zeros "
        "alone: each is a patient of its own, which is wrong where they are one person"
    )
    return [note]


def check_classes(
    classes: dict[str, int], counts: Counter[str], named: set[str], name: str
) -> None:
    """Refuse spellings of one label that are put into different classes.

    Parameters
    ----------
    classes : dict of str to int
        The class of each label.
    counts : Counter
        Records of each label.
    named : set of str
        Labels that the user speaks of.
    name : str
        Of the column.
    """
    for same in spelt_twice(classes):
        if len({classes[one] for one in same}) < 2 or set(same) <= named:
            continue
        most = max(same, key=lambda one: (counts[one], -len(one), one))
        listed = ", ".join(f'"{one}"' for one in same)
        raise CohortError(
            f"{len(same)} labels differ in spelling alone: {listed}",
            where=f"column {name}",
            expected="one spelling per class",
            next_step=f'Merge them under [cohort.label_groups]: "{most}" = [{listed}]; where they '
            "are classes of their own, name each there",
        )


def odd_class(found: Sequence[str], counts: Counter[str]) -> str | None:
    """A number behind a gap among consecutive class numbers, which is often a code.

    Parameters
    ----------
    found : sequence of str
        The labels.
    counts : Counter
        Records of each.
    """
    numbers = {one: _number(one) for one in found}
    if len(found) < 3 or any(v is None or v != round(v) for v in numbers.values()):
        return None
    order = sorted(found, key=lambda one: float(numbers[one] or 0))
    values = [float(numbers[one] or 0) for one in order]
    if values[0] == -1 and values[1] >= 0:
        return order[0]
    behind = next((i for i in range(1, len(values)) if values[i] > values[i - 1] + 1), None)
    if behind is None or behind < 2:
        return None
    rest = order[behind:]
    odd = [one for one in rest if numbers[one] in CODES or counts[one] < FEWEST_CODED]
    return odd[0] if odd else None


def codes_in(values: NDArray[np.float64], name: str) -> list[str]:
    """Notes of a number that is repeated far from all others, as codes for missing are.

    Parameters
    ----------
    values : float64 array, shape (records,)
        NaN where missing.
    name : str
        Of the column.
    """
    notes: list[str] = []
    low, high = np.nanmin(values), np.nanmax(values)
    for code, sign in ((high, 1), (low, -1)):
        if float(code) not in CODES:
            continue
        is_code = values == code
        rest = values[~is_code & ~np.isnan(values)]
        if is_code.sum() < FEWEST_CODED or rest.size < FEW_DIFFERENT:
            continue
        inner = float(np.ptp(rest))
        gap = float((code - rest.max()) if sign > 0 else (rest.min() - code))
        only_negative = sign < 0 and code < 0 <= rest.min()
        if len(np.unique(rest)) > 2 and (gap > max(inner, 1) or only_negative):
            key = f'missing_in = {{ {quoted_key(name)} = ["{code:g}"] }}'
            notes.append(
                f"{name}: {int(is_code.sum()):,} values are {code:g}, far from all others: if it "
                f"is a code for missing, {key} under [cohort]"
            )
    return notes


def measured(column: pd.Series[Any], values: NDArray[np.float64], name: str) -> list[str]:
    """Refuse numbers that are codes or moments by how they are written; note codes for missing.

    Parameters
    ----------
    column : Series
        As it was read.
    values : float64 array, shape (records,)
        Its numbers, NaN where missing.
    name : str

    Raises
    ------
    CohortError
        Numbers begin with a zero, or the name says that they are moments and they may be.
    """
    there = values[np.isfinite(values)]
    if not there.size:
        return []
    if (there == np.round(there)).all():
        _refuse_leading_zeros(column, name)
    if moments_in_numbers(values, name):
        raise CohortError(
            "its name says that it holds dates or times, and its numbers may be days of a "
            "spreadsheet or seconds",
            where=f"column {name}",
            expected="a declaration",
            next_step="If they are measured, name it in cohort.numeric; if they are moments, in "
            "cohort.exclude, or write them as dates",
        )
    return codes_in(values, name)


def _refuse_leading_zeros(column: pd.Series[Any], name: str) -> None:
    """Raise where numbers in text have leading zeros: postcodes and other codes have."""
    if not isinstance(column.dtype, pd.StringDtype) and column.dtype != object:
        return
    if has(column, r"^\s*0\d+\s*$") is False:
        return
    text = [one for one in column.tolist() if isinstance(one, str)]
    coded = sum(one.lstrip()[:1] == "0" and one.strip().isdecimal() and len(one.strip()) > 1
                for one in text)  # fmt: skip
    if coded and len(set(text)) > 2:
        raise CohortError(
            f"{coded} of its numbers begin with a zero (as 007): codes, or numbers",
            where=f"column {name}",
            expected="a declaration",
            next_step="Name it in cohort.categorical if these are codes, in cohort.numeric, or in "
            "cohort.exclude if it numbers records or patients",
        )


def compact_dates(values: NDArray[np.float64]) -> bool:
    """Whether all of many different numbers are dates as 20240531."""
    there = values[~np.isnan(values)]
    if there.size < FEW_DIFFERENT or there.min() < 19000101 or there.max() > 21991231:
        return False
    different = np.unique(there)
    if different.size < FEW_DIFFERENT or (different != np.round(different)).any():
        return False
    return all(_COMPACT.fullmatch(str(int(one))) for one in different.tolist())


def moments_in_numbers(values: NDArray[np.float64], name: str) -> bool:
    """Whether a column says that it is a time, and holds days of spreadsheets or seconds.

    Parameters
    ----------
    values : float64 array, shape (records,)
    name : str
        Of the column.
    """
    if not _SAYS_TIME.search(name):
        return False
    there = values[~np.isnan(values)]
    if there.size < FEW_DIFFERENT or len(np.unique(there)) < FEW_DIFFERENT:
        return False
    low, high = float(there.min()), float(there.max())
    return any(a <= low and high <= b for a, b in ((20_000, 80_000), (3e8, 5e9), (3e11, 5e12)))


def no_single_number(found: Sequence[str]) -> str | None:
    """What nearly all of many different values are besides a number: a currency, two numbers."""
    seen = list(found)
    if len(seen) <= FEW_DIFFERENT:
        return None
    for pattern, what in (
        (_FRONT_UNIT, "numbers with a currency or a unit before each"),
        (_TWO, "two numbers in each (as 120/80)"),
    ):
        if sum(pattern.fullmatch(one) is not None for one in seen) >= NEARLY_ALL * len(seen):
            return what
    return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None

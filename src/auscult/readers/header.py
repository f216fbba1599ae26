"""Names of columns in messages: not where the header may be the first record of a file without one.

Its cells would be a patient's, and a message is read by others, in logs too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from auscult.base.errors import one_of

DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}")
PARTED = re.compile(r"[;\t|]")
NOT_LISTED = (
    "a header line with the names of the columns. They are not listed, because some look like the "
    "values of a record: the file has no header line, or is separated by something else"
)


def like_a_record(names: Iterable[object]) -> bool:
    """Whether any name is a number or a date, or several values that something else separates.

    Parameters
    ----------
    names : iterable
        Of the columns.
    """
    return any(_is_value(str(name).strip()) for name in names)


def columns_listed(name: str, names: Iterable[object]) -> str:
    """Which columns there are and which one was probably meant, for a message.

    Parameters
    ----------
    name : str
        The column that was not found.
    names : iterable
        Of the columns.
    """
    existing = [str(one) for one in names]
    return NOT_LISTED if like_a_record(existing) else one_of(name, existing)


def _is_value(text: str) -> bool:
    if DATE.match(text) or PARTED.search(text):
        return True
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True

"""Errors written for the person who reads them.

Every failure that a user can cause or mend is an :class:`AuscultError`: it says what is wrong,
where, what was expected and what to do next. It must never carry a patient identifier or a
membership bit (law 7): count patients, never name them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from auscult.base.showing import cleaned


class AuscultError(Exception):
    """An error that the user can correct.

    The command line prints it without a traceback and exits with 2.

    Parameters
    ----------
    what : str
        What is wrong, one sentence, no full stop.
    where : str, optional
        The file, key, column, block or model it concerns. Never a patient.
    expected : str, optional
        What would have been valid.
    next_step : str, optional
        What to do now.
    """

    def __init__(
        self, what: str, *, where: str = "", expected: str = "", next_step: str = ""
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.next_step = next_step
        # Names of columns, keys, files and the like are others' text.
        what, where, expected, next_step = (
            cleaned(part, keep="\n") for part in (what, where, expected, next_step)
        )
        message = _ended(f"{where}: {what}" if where else what)
        if expected:
            message += f" {_ended(f'Expected: {expected}')}"
        if next_step:
            message += f" {_ended(next_step)}"
        super().__init__(message)


def _ended(text: str) -> str:
    """A sentence with its one full stop, or its question mark."""
    return text if text.endswith("?") else text.rstrip(".") + "."


class CohortError(AuscultError):
    """The data cannot be read or does not make a cohort."""


class ConfigError(AuscultError):
    """The configuration cannot be read or contradicts itself or the data."""


class RecipeError(AuscultError):
    """A recipe cannot be used on this cohort, or failed while it trained."""


class StoreError(AuscultError):
    """A run directory is damaged, in use by another process, or has another configuration."""


class AnalysisError(AuscultError):
    """The stored outputs are not sufficient for the requested analysis."""


def one_of(name: str, names: Iterable[str], *, shown: int = 8) -> str:
    """Say which names exist and which one was probably meant.

    Parameters
    ----------
    name : str
        The name that was not found.
    names : iterable of str
        The names that exist.
    shown : int
        How many of them to list before "... n more".

    Returns
    -------
    str
        For example ``it has: race, gender, ... 44 more. Did you mean "race"?``
    """
    existing = list(names)
    listed = ", ".join(existing[:shown])
    if len(existing) > shown:
        listed += f", ... {len(existing) - shown} more"
    text = f"it has: {listed}" if existing else "it has none"
    # Numbers are not misspelt: who asks for resnet50 does not mean resnet-1d.
    alike = [
        one
        for one in existing
        if _digits(one).startswith(_digits(name)) or _digits(name).startswith(_digits(one))
    ]
    close = difflib.get_close_matches(name, alike, n=1)
    return f'{text}. Did you mean "{close[0]}"?' if close else text


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())

"""What a check says when a property does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from auscult.base.errors import AuscultError


class CheckError(AssertionError):
    """A part does not have a property that every part of its kind must have."""


class Subject:
    """The part under test, for messages.

    Parameters
    ----------
    kind, name : str
    """

    def __init__(self, kind: str, name: str) -> None:
        self._whose = f'{kind} "{name}"'

    def need(self, holds: object, what: str) -> None:
        """Raise a CheckError unless the property holds.

        Parameters
        ----------
        holds : bool
        what : str
            What is wrong where it does not.
        """
        if not holds:
            raise CheckError(f"{self._whose}: {what}")

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Turn what the part raises into a CheckError."""
        try:
            yield
        except CheckError:
            raise
        except AuscultError as error:
            raise CheckError(f"{self._whose}: {what}: {error}") from error
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise CheckError(f"{self._whose}: {what} raised {said}") from error

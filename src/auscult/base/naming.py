"""What a message calls an argument: the key of a file, or the argument of a Python call.

Errors are raised with the key of ``audit.toml``, since the code that finds them is the same.
Whoever calls Auscult from Python has no such file: the functions that were called name their own
arguments instead, unless these came from a file.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from auscult.base.errors import AuscultError

# A key, perhaps with a key or a place below it, and perhaps the value that it has.
KEY = re.compile(
    r"(?P<before>^|^.*, )(?P<part>\w+)\.(?P<name>\w+)(?P<below>[.\[][^ ]*)?(?: = .*)?$"
)

_from_a_file: ContextVar[bool] = ContextVar("from_a_file", default=False)


def from_a_file() -> bool:
    """Whether the arguments at hand came from a file or the command line."""
    return _from_a_file.get()


@contextmanager
def arguments_of_a_file(really: bool = True) -> Iterator[None]:
    """Inside, errors name keys and not arguments of Python.

    Parameters
    ----------
    really : bool
        Nothing changes where it is False.
    """
    before = _from_a_file.set(really or _from_a_file.get())
    try:
        yield
    finally:
        _from_a_file.reset(before)


@contextmanager
def arguments_of(
    owners: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Inside, errors name arguments of Python in place of keys, unless those came from a file.

    Parameters
    ----------
    owners : mapping of str to object
        By the table of a key, "audit" of ``audit.models``: what has the argument, a class, a
        function or an object that keeps each argument under its name. Numbers that an object keeps
        are shown.
    names : mapping of str to str, optional
        Arguments that have another name than the key.
    """
    try:
        yield
    except AuscultError as error:
        if from_a_file():
            raise
        where = _told(error.where, owners, names or {})
        said = (error.what, error.expected, error.next_step)
        what, expected, next_step = (_mentioned(text, owners) for text in said)
        if (where, what, expected, next_step) == (error.where, *said):
            raise
        raise type(error)(what, where=where, expected=expected, next_step=next_step) from error


def _told(where: str, owners: Mapping[str, Any], names: Mapping[str, str]) -> str:
    found = KEY.match(where)
    owner = None if found is None else owners.get(found["part"])
    if found is None or owner is None:
        return where
    called = _called(owner)
    taken = inspect.signature(called).parameters
    name = next((n for n in (found["name"], names.get(found["name"])) if n in taken), None)
    if name is None:
        return where
    value = getattr(owner, name, None) if called is not owner else None
    shown = f"{value}" if isinstance(value, int | float) else "..."
    below = "" if found["below"] is None else f": {found['below'].lstrip('.')}"
    return f"{found['before']}{_name(called)}({name}={shown}){below}"


def _mentioned(text: str, owners: Mapping[str, Any]) -> str:
    """A text in which other arguments are told without their table: `bins` for ``cohort.bins``."""

    def named(found: re.Match[str]) -> str:
        owner = owners.get(found[1])
        if owner is None or found[2] not in inspect.signature(_called(owner)).parameters:
            return found[0]
        return found[2]

    return re.sub(r"(?<!\[)\b(\w+)\.(\w+)\b", named, text)


def _called(owner: Any) -> Callable[..., Any]:  # noqa: ANN401
    return owner if inspect.isroutine(owner) or inspect.isclass(owner) else type(owner)


def _name(called: Any) -> str:  # noqa: ANN401
    """As the user writes it: a constructor by its class, a reader of cohorts by Cohort's name."""
    name = str(called.__qualname__).removesuffix(".__init__").rpartition("<locals>.")[2]
    return f"Cohort.{name}" if name.startswith("from_") else name

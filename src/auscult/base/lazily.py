"""Names that a package shows and loads when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, places: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package.

    Type checkers do not see what they do: the package imports the same names under
    ``TYPE_CHECKING``, and hides both from them, so that a name that is not there is an error.

    Parameters
    ----------
    package : str
    places : mapping of str to str
        The module of each name.
    """

    def get(name: str) -> Any:  # noqa: ANN401
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(places[name]), name)

    def names() -> list[str]:
        return sorted({*vars(import_module(package)), *places})

    return get, names

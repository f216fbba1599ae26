"""``"module:name"`` to the object it names, the configuration's folder first."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from auscult.base.errors import RecipeError, one_of


@contextmanager
def beside(folder: Path | None) -> Iterator[None]:
    """Let modules of a folder be imported first: by code that runs, and by processes it starts."""
    place = None if folder is None else str(folder.resolve())
    if place is not None:
        sys.path.insert(0, place)
    try:
        yield
    finally:
        if place in sys.path:
            sys.path.remove(place)


def from_beside(function: Callable[..., Any], folder: Path | None) -> Callable[..., Any]:
    """The function, which finds modules of a folder also when it imports them as it runs."""

    @wraps(function)
    def called(*given: Any, **named: Any) -> Any:  # noqa: ANN401
        with beside(folder):
            return function(*given, **named)

    called.__name__ = getattr(function, "__name__", type(function).__name__)
    return called


def resolve(reference: str, folder: Path | None = None) -> Any:  # noqa: ANN401
    """Import what a reference names.

    Parameters
    ----------
    reference : str
        For example ``"training:make_network"`` or ``"sklearn.svm:SVC"``.
    folder : Path, optional
        Put first on the import path while importing.

    Raises
    ------
    RecipeError
        No such module or name, or importing it raised.
    """
    module_name, colon, name = reference.partition(":")
    if not (colon and module_name and name):
        raise RecipeError(
            f'"{reference}" is not a reference to anything',
            where="recipe",
            expected='"module:name"',
        )
    try:
        with beside(folder):
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not module_name.startswith(error.name):
            what = f"importing {module_name} needs the module {error.name}, which is not installed"
        else:
            what = f"there is no module {module_name}"
        raise RecipeError(
            what,
            where=f"recipe {reference}",
            expected="an installed module, or a file beside the configuration",
        ) from error
    except Exception as error:
        raise RecipeError(
            f"importing {module_name} raised {type(error).__name__}: {error}",
            where=f"recipe {reference}",
        ) from error
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n in dir(found) if not n.startswith("_")]
            raise RecipeError(
                f'{module_name} has no "{name}"', where="recipe", expected=one_of(part, names)
            )
        found = getattr(found, part)
    return found

"""Installed packages, told from a user's own code by where it lies."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import types
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

OWN = Path(__file__).resolve().parents[1]


@cache
def _roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {*site.getsitepackages(), site.getusersitepackages(), str(OWN)}
    return tuple(sorted({os.path.realpath(path) + os.sep for path in found}))


@cache
def _lies_in_package(file: str) -> bool:
    parts = Path(file).parts
    return (
        "site-packages" in parts
        or "dist-packages" in parts
        or os.path.realpath(file).startswith(_roots())
    )


def is_library(file: str, module: types.ModuleType | None) -> bool:
    """Whether code of this file belongs to an installed package or to Python.

    Code made from text has no file; it belongs where its module belongs.
    """
    if file.startswith("<frozen"):
        return True
    if file.startswith("<"):
        return module is not None and is_library_module(module)
    return _lies_in_package(file)


def is_library_module(module: types.ModuleType) -> bool:
    """Whether a module belongs to an installed package or to Python."""
    if module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    if file is not None:
        return _lies_in_package(str(file))
    spec = getattr(module, "__spec__", None)
    if spec is None:  # made by code; a package's parts of this kind follow their package
        return False
    places = list(spec.submodule_search_locations or ())
    return all(_lies_in_package(place + os.sep) for place in places)


@cache
def version_of(package: str) -> str:
    """Version of the distribution that holds a package, empty for Python's own."""
    if package in sys.stdlib_module_names:
        return ""
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(loaded, str):
        return f"{package} {loaded}"
    # Reading what every installed distribution holds takes a second: only where nothing else tells.
    with suppress(metadata.PackageNotFoundError):
        return f"{package} {metadata.version(package)}"
    names = _distributions().get(package, ())
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names)))


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())

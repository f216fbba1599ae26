"""The manifest of a run: which run a directory holds, and with which versions it was made."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from auscult.base.errors import StoreError
from auscult.base.opening import parse_json, read_text, whole_numbers
from auscult.base.version import __version__
from auscult.store.lock import HOLDER, LOCK

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = "auscult.manifest/1"
RECIPE = "recipe"  # part of a fingerprint that holds the versions of the packages it uses
VERSIONED_PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "torch")


def versions() -> dict[str, str]:
    """Versions of Auscult, of Python and of the packages that results may depend on."""
    found = {"auscult": __version__, "python": platform.python_version()}
    for name in VERSIONED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_folder(path: Path) -> None:
    """A run directory is new, empty or a run; a kill before its manifest leaves it empty."""
    if not path.exists():
        return
    if not path.is_dir():
        raise StoreError("this is a file", where=str(path), expected="a directory for the run")
    if (path / MANIFEST).exists():
        return
    others = [
        entry.name
        for entry in path.iterdir()
        if entry.name not in (LOCK, HOLDER) and not re.fullmatch(r"\..*\.part", entry.name)
    ]
    if others:
        raise StoreError(
            f"the directory is not a run and contains {len(others)} other files or folders",
            where=str(path),
            expected="a new or empty directory, or one made by `auscult run`",
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a run directory.

    Raises
    ------
    StoreError
        It is damaged, or not the manifest of a run.
    """
    where = str(path / MANIFEST)
    again = "Use another run directory"
    text = read_text(path / MANIFEST, where, StoreError, next_step=again)
    manifest = parse_json(text, where, StoreError, next_step=again)
    if not isinstance(manifest, dict) or manifest.get("schema") != MANIFEST_SCHEMA:
        raise StoreError(
            "this is not the manifest of a run", where=where, expected=f'schema "{MANIFEST_SCHEMA}"'
        )
    if not {"fingerprint", "blocks", "records", "versions"} <= set(manifest):
        raise StoreError("the manifest is incomplete", where=where)
    if not (
        all(isinstance(manifest[key], dict) for key in ("fingerprint", "versions"))
        and all(isinstance(value, str) for value in manifest["fingerprint"].values())
        and isinstance(manifest["blocks"], list)
        and len(manifest["blocks"]) > 0
        and all(whole_numbers(models) and models for models in manifest["blocks"])
        and whole_numbers([manifest["records"]])
        and isinstance(manifest.get("resumed_with", []), list)
    ):
        raise StoreError("the manifest is damaged", where=where, next_step=again)
    return manifest


def check_fingerprint(path: Path, manifest: Mapping[str, Any], parts: Mapping[str, str]) -> None:
    """Raise a StoreError where a run has another fingerprint than an audit.

    Parameters
    ----------
    path : Path
        The run directory.
    manifest : mapping
        Of the run.
    parts : mapping of str to str
        The audit's fingerprint, by part.
    """
    stored = manifest["fingerprint"]
    names = [*parts, *(name for name in stored if name not in parts)]
    differing = [name for name in names if stored.get(name) != parts.get(name)]
    if differing:
        verb = "differs" if len(differing) == 1 else "differ"
        since = _packages_since(manifest) if RECIPE in differing else ""
        raise StoreError(
            "the directory contains a run with a different configuration: "
            f"{', '.join(differing)} {verb}{since}",
            where=str(path),
            next_step="Use another run directory, or restore the configuration to resume this one",
        )


def _packages_since(manifest: Mapping[str, Any]) -> str:
    """Which packages have another version than when the run began: often why a recipe differs."""
    then, now = manifest["versions"], versions()
    changed = [
        f"{name} is {now.get(name, 'not installed')} and was {version}"
        for name, version in then.items()
        if now.get(name) != version
    ]
    return f" ({', '.join(changed)})" if changed else ""

"""The seal of a finished run: a digest of every file, so that a changed byte is seen.

A seal is no signature. It tells damage, swapped files and figures that were edited; somebody who
may write to the folder and knows the format can make another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from auscult.base.errors import StoreError
from auscult.base.files import sha256_of_file, write_json
from auscult.base.opening import parse_json, read_text
from auscult.store.growth import identity_of
from auscult.store.lock import HOLDER, LOCK

SEAL = "seal.json"
SEAL_SCHEMA = "auscult.seal/1"
SUMMARY = Path("results", "summary.json")
MOST_NAMED = 5
AGAIN = (
    "Run `auscult run` (or `auscult import`) again: the results are recomputed from the stored "
    "models"
)


def write_seal(run: Path, identity: str) -> None:
    """Seal a run as it is: ``seal.json`` with a SHA-256 per file.

    Parameters
    ----------
    run : Path
    identity : str
        The run's, from :func:`auscult.store.growth.identity_of`.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    content = {
        "schema": SEAL_SCHEMA,
        "run": identity,
        "files": {name: _digest(run, name) for name in _files(run)},
    }
    write_json(run / SEAL, {**content, "digest": _own(content)})


def check_sealed(run: Path, name: str) -> None:
    """Check one file of a run that has a seal; a run without one is not finished.

    Raises
    ------
    StoreError
        The file is not as the seal says, or the seal itself was changed.
    """
    if not (run / SEAL).exists():
        return
    if _read(run)["files"].get(name) != _digest(run, name):
        raise _changed(run, [name])


def require_sealed(run: Path, *, values: bool = True, but: Collection[str] = ()) -> int:
    """Check that a run has a seal and that every file is as it says.

    Parameters
    ----------
    run : Path
    values : bool
        Also read the models' outputs; else only their descriptions, which hold their checksums.
    but : collection of str
        Files that may differ, for example because they are about to be written.

    Returns
    -------
    int
        How many files were checked.

    Raises
    ------
    StoreError
        There is no seal, or files were changed, added or removed since.
    """
    if not (run / SEAL).is_file():
        raise StoreError(
            "the run has no seal" if run.is_dir() else "there is no such directory",
            where=str(run),
            expected=f"a finished run with a {SEAL} in it",
            next_step=AGAIN,
        )
    said = _read(run)["files"]
    wanted = {
        name for name in {*said, *_files(run)} - set(but) if values or not name.endswith(".npy")
    }
    wrong = sorted(name for name in wanted if said.get(name) != _digest(run, name))
    if wrong:
        raise _changed(run, wrong)
    return len(wanted)


def _read(run: Path) -> dict[str, Any]:
    try:
        seal = parse_json(read_text(run / SEAL, SEAL, StoreError), SEAL, StoreError)
        fine = seal["schema"] == SEAL_SCHEMA and seal["digest"] == _own(seal)
        text = read_text(run / "manifest.json", "manifest.json", StoreError)
        manifest = parse_json(text, "manifest.json", StoreError)
        fine = fine and isinstance(seal["files"], dict) and seal["run"] == identity_of(manifest)
    except Exception:  # whatever they hold
        fine = False
    if not fine:
        raise StoreError(
            "the seal or the manifest was changed after it was written",
            where=str(run / SEAL),
            next_step=AGAIN,
        )
    return dict(seal)


def _own(seal: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in seal.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _files(run: Path) -> Iterator[str]:
    """Files that a seal is about: all but itself, the lock, its holder and what is half written."""
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        nested = path.name in (HOLDER, LOCK, SEAL)
        if path.is_file() and not nested and not path.name.endswith(".part"):
            yield name


def _digest(run: Path, name: str) -> str | None:
    try:
        return sha256_of_file(run / name)
    except OSError:
        return None


def _changed(run: Path, names: list[str]) -> StoreError:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return StoreError(
        f"changed since the run was sealed: {', '.join(names[:MOST_NAMED])}{more}",
        where=str(run),
        next_step=AGAIN,
    )

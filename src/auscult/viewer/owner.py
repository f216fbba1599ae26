"""Whether a run is the reader's own and closed to others: no other run is shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from auscult.base.errors import StoreError

OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def refuse_shared(run: Path) -> None:
    """Refuse a run folder that belongs to somebody else, or whose secrets others can read.

    Where the system has no owners and modes of files (Windows), nothing is refused.

    Parameters
    ----------
    run : Path
        The run directory.

    Raises
    ------
    StoreError
        Says what to change.
    """
    if not hasattr(os, "geteuid"):
        return
    secret = run / "secret"
    for path in (run, secret, *(sorted(secret.iterdir()) if secret.is_dir() else ())):
        _refuse(run, path, OTHERS_WRITE if path == run else OTHERS)


def _refuse(run: Path, path: Path, forbidden: int) -> None:
    try:
        found = path.lstat()
    except OSError as error:
        raise StoreError(
            "the run has no secrets to show",
            where=str(path),
            expected="the folder secret/ of a run of yours",
            next_step="Open the run where it was made: copies for others, such as bundles, have "
            "no patients in them",
        ) from error
    if path != run and stat.S_ISLNK(found.st_mode):
        raise StoreError(
            "this is a link to somewhere else",
            where=str(path),
            expected="the run's own folder and files",
        )
    if path == run:
        found = path.stat()
    if found.st_uid != os.geteuid():
        raise StoreError(
            "this belongs to another user",
            where=str(path),
            expected="a run of your own",
            next_step="Let its owner open it, or run the audit under your own name",
        )
    if found.st_mode & forbidden:
        raise StoreError(
            "other users of this machine can "
            + ("write to it" if forbidden == OTHERS_WRITE else "reach the patients in it"),
            where=str(path),
            expected="a folder for you alone, as `auscult run` makes it",
            next_step=f"Close it to others: chmod -R go-rwx '{run}'",
        )

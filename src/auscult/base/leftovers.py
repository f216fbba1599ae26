"""Temporary folders that do not outlive a killed process for long.

A process that is killed cannot tidy up. Each temporary folder holds a file that its owner keeps
locked; the system lets the lock go when the process ends, however it ends. Whoever makes the next
folder removes those whose lock is free.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "auscult-run-"
LOCK = "owner.lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder under TMPDIR that is gone afterwards, or at the next start after a kill."""
    collect()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def collect() -> int:
    """Remove the folders of this user whose owners are gone.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            found = folder.lstat()
            if not folder.is_dir() or folder.is_symlink() or found.st_uid != os.getuid():
                continue
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # another user's, or made this instant and not yet locked
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        finally:
            os.close(descriptor)
    return removed

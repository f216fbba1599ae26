"""Temporary folders that do not outlive a killed process for long.

A process that is killed cannot tidy up. Each temporary folder holds a file that its owner keeps
locked; the system lets the lock go when the process ends, however it ends. Whoever makes the next
folder removes those whose lock is free.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "auscult-run-"
LOCK = "owner.lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder under TMPDIR that is gone afterwards, or at the next start after a kill."""
    collect()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        with lock:
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Windows removes no file that is held


def collect() -> int:
    """Remove the folders of this user whose owners are gone.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    mine = os.getuid() if hasattr(os, "getuid") else None  # Windows: the folder is the user's own
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            found = folder.lstat()
            if not folder.is_dir() or folder.is_symlink():
                continue
            if mine not in (None, found.st_uid) or not (folder / LOCK).is_file():
                continue  # another user's, or made this instant and not yet locked
            with FileLock(folder / LOCK, timeout=0, fallback_to_soft=False):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed += 1
    return removed

"""Temporary folders that do not outlive a killed process for long.

A process that is killed cannot tidy up. Each temporary folder holds a file that its owner keeps
locked; the system lets the lock go when the process ends, however it ends. Whoever makes the next
folder removes those whose lock is free, and the semaphores that the workers' pool of that process
left in shared memory: they are named by its number.
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
LOCK, OWNER = "owner.lock", "owner"
SHARED = Path("/dev/shm")  # noqa: S108 - where Linux keeps named semaphores


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder under TMPDIR that is gone afterwards, or at the next start after a kill."""
    collect()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        with lock:
            (folder / OWNER).write_text(str(os.getpid()), encoding="ascii")
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
                _remove_semaphores(folder, found.st_uid)
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed += 1
    return removed


def _remove_semaphores(folder: Path, owner: int) -> None:
    """Remove what the pool of a process that is gone left in shared memory."""
    try:
        process = int((folder / OWNER).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if Path("/proc", str(process)).exists():  # another one has the number now
        return
    for path in SHARED.glob(f"sem.loky-{process}-*"):
        try:
            if path.lstat().st_uid == owner:
                path.unlink()
        except OSError:
            continue

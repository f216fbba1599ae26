"""One writer at a time: the lock of a run directory, and who holds it.

The system locks a file and frees it when its process ends, however it ends. Who holds the lock is
written beside it, since on Windows nobody else can read a locked file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from auscult.base.errors import StoreError

LOCK = ".writer.lock"
HOLDER = ".writer"
LOCK_PATIENCE_SECONDS = 1.0
LOOK_SECONDS = 0.2  # somebody else may be looking as well


class WriterLock:
    """A lock that is held until it is closed, or until the process ends.

    Parameters
    ----------
    holder : Path
        The file that says who holds it.
    release : callable
    """

    def __init__(self, holder: Path, release: Callable[[], object]) -> None:
        self._holder, self._release = holder, release

    def close(self) -> None:
        """Let others write."""
        try:
            self._holder.unlink(missing_ok=True)
        except OSError:  # a look at it by another process is in the way, on Windows
            pass
        finally:
            self._release()


def take_lock(path: Path) -> WriterLock:
    """Take the lock of a run directory and say who has it.

    Raises
    ------
    StoreError
        Another process holds it, or the file system cannot lock files: a lock that a killed
        process would keep is not taken instead.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=LOCK_PATIENCE_SECONDS)  # `status` holds it for an instant
    except Timeout as error:
        raise StoreError(
            f"{_holder(path)} is writing to this run",
            where=str(path),
            next_step="Wait until it has finished, or stop it; `auscult status` shows it",
        ) from error
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise StoreError(
            f"the file system cannot lock files ({why})",
            where=str(path),
            next_step="Put the run on a local disk",
        ) from error
    held = WriterLock(path / HOLDER, lock.release)
    try:
        (path / HOLDER).write_text(f"{os.getpid()} {socket.gethostname()}\n", encoding="utf-8")
    except OSError as error:
        held.close()
        raise StoreError(
            f"the run directory cannot be written ({error.strerror or error})", where=str(path)
        ) from error
    return held


def _holder(path: Path) -> str:
    try:
        process, host = (path / HOLDER).read_text(encoding="utf-8").split(maxsplit=1)
    except (OSError, ValueError):
        return "another process"
    return f"process {process} on {host.strip()}"


def lock_holder(path: Path) -> str | None:
    """Who is writing to the run, in words, or None.

    Whoever may not write to the directory cannot try the lock: then what its holder wrote counts.
    """
    from filelock import FileLock, Timeout

    if not (path / LOCK).exists():
        return None
    lock = FileLock(path / LOCK, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=LOOK_SECONDS)
    except Timeout:
        return _holder(path)
    except (OSError, NotImplementedError):
        if not (path / HOLDER).exists():
            return None
        return f"{_holder(path)}, unless it was killed"
    lock.release()
    return None

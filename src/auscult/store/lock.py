"""One writer at a time: the lock of a run directory, and who holds it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from auscult.base.errors import StoreError

LOCK = ".writer.lock"
LOCK_PATIENCE_SECONDS = 1.0


def take_lock(path: Path) -> int:
    """Take the lock and say who has it; the descriptor holds it until it is closed."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    patience = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() > patience:  # `status` holds it for an instant; a writer for long
                holder = _holder(path)
                os.close(descriptor)
                raise StoreError(
                    f"{holder} is writing to this run",
                    where=str(path),
                    next_step="Wait until it has finished, or stop it; `auscult status` shows it",
                ) from error
            time.sleep(0.05)
        except OSError as error:
            os.close(descriptor)
            raise StoreError(
                f"the file system cannot lock files ({error.strerror})",
                where=str(path),
                next_step="Put the run on a local disk",
            ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
    return descriptor


def _holder(path: Path) -> str:
    try:
        process, host = (path / LOCK).read_text(encoding="utf-8").split(maxsplit=1)
    except (OSError, ValueError):
        return "another process"
    return f"process {process} on {host.strip()}"


def lock_holder(path: Path) -> str | None:
    """Who is writing to the run, in words, or None."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(path)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None

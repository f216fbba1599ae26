"""Pools of worker processes, which end with all that their workers started.

loky lists processes with psutil or ``pgrep``. Slim containers have neither: there it prints a
traceback for each worker, and may leave it running, for which the whole process then waits.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def new_pool(workers: int, **settings: Any) -> Any:  # noqa: ANN401
    """Worker processes that live until the pool is shut down.

    Parameters
    ----------
    workers : int
    settings
        Of ``loky.ProcessPoolExecutor``.
    """
    import loky
    from loky import process_executor

    if not _processes_are_listed():
        process_executor.kill_process_tree = _end  # what the pool's own thread calls
    return loky.ProcessPoolExecutor(max_workers=workers, timeout=None, **settings)


def descendants(processes: list[int]) -> list[int]:
    """Processes that these started, and what those started; nobody where there is no ``/proc``.

    Parameters
    ----------
    processes : list of int
    """
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            content = file.read_text(encoding="utf-8", errors="replace")
            parent = int(content.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(file.parent.name))
    found: list[int] = []
    waiting = list(processes)
    while waiting:
        started = children.pop(waiting.pop(), [])
        found += started
        waiting += started
    return found


def _end(process: Any, use_psutil: bool = True) -> None:  # noqa: ANN401, ARG001
    """End a worker and what it started, in place of loky's function."""
    for one in (*descendants([process.pid]), process.pid):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)
    process.join()


def _processes_are_listed() -> bool:
    """Whether loky finds the children of a worker by itself."""
    known = sys.platform == "win32" or find_spec("psutil") is not None
    return known or shutil.which("pgrep") is not None

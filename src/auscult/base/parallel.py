"""Threads over pieces of arrays, and arrays too large for memory.

NumPy lets go of the interpreter inside its loops, so threads over pieces of a few megabytes use all
cores without copying anything. Results come in the order of the pieces whatever finishes first.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from auscult.base.errors import StoreError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

SECONDS_BETWEEN_LOOKS = 0.2
MOST_THREADS = 16
MOST_AT_ONCE = 100_000
"""Patients up to whom steps of an analysis that take arrays of all of them are done at once."""
# Arrays beyond this go to a nameless temporary file, whose pages the system may take back.
MOST_IN_MEMORY = 1 << 28
PIECE_BYTES = 1 << 22


def cores() -> int:
    """Number of cores this process may use, where a container grants it fewer as well."""
    import loky

    return int(loky.cpu_count())


def available_memory() -> int | None:
    """Bytes of memory that can be had without swapping; None where the system does not say.

    Linux says it in ``/proc``; elsewhere psutil asks the system.
    """
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        text = ""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def peak_memory() -> int | None:
    """Most bytes of memory that this process held so far; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return _peak_by_psutil()
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, not KiB


def _peak_by_psutil() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    said = psutil.Process().memory_info()
    return int(getattr(said, "peak_wset", said.rss))


def shared_memory() -> int:
    """Bytes of this process's memory that others hold as well; 0 where the system does not say."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    lines = [line.split() for line in text.splitlines() if line.startswith("Shared_")]
    return 1024 * sum(int(words[1]) for words in lines)


def in_order(
    work: Callable[[Item], Outcome], items: Iterable[Item], *, apart: bool = False
) -> Iterator[Outcome]:
    """Results of `work` for each item, in the order of the items, computed by threads.

    No more than twice as many items as threads are under way, so that results do not pile up.

    Parameters
    ----------
    work : callable
    items : iterable
    apart : bool
        One item follows the other, in the thread of the caller: for work that sets what the whole
        process shares, as scikit-learn's estimators set the filters of warnings, or that takes the
        memory there is.
    """
    threads = 1 if apart else min(MOST_THREADS, cores())
    waiting: deque[Future[Outcome]] = deque()
    left = iter(items)
    first = list(islice(left, 2))
    with _linear_algebra(len(sys.modules)).limit(limits=1):
        if threads == 1 or len(first) < 2:
            yield from map(work, chain(first, left))
            return
        with ThreadPoolExecutor(threads) as pool:
            try:
                for item in chain(first, left):
                    waiting.append(pool.submit(work, item))
                    if len(waiting) >= 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


@contextmanager
def beside(work: Callable[[], Outcome], *, apart: bool = False) -> Iterator[Callable[..., Outcome]]:
    """Do something in a thread of its own while the caller goes on with what does not need it.

    Parameters
    ----------
    work : callable
        It must leave alone what the whole process shares, and spend its time in compiled code.
    apart : bool
        It is begun when it is asked for: memory does not hold both.

    Yields
    ------
    callable
        Waits for the result and returns it, or raises what went wrong; its argument, where there is
        one, is called now and then meanwhile.
    """
    done: Future[Outcome] = Future()
    context = copy_context()  # says what a message calls an argument

    def run() -> None:
        try:
            done.set_result(context.run(work))
        except BaseException as error:
            if not done.done():
                done.set_exception(error)

    def result(meanwhile: Callable[[], None] = lambda: None) -> Outcome:
        if apart:
            thread.start()
        while not done.done():
            meanwhile()
            wait([done], timeout=SECONDS_BETWEEN_LOOKS)
        return done.result()

    thread = Thread(target=run, daemon=True)
    if not apart:
        thread.start()
    try:
        yield result
    except BaseException:
        _stop(thread)
        raise
    finally:
        if thread.ident is not None:
            thread.join()


def _stop(thread: Thread) -> None:
    """End a thread whose result nobody wants, as soon as it is back from compiled code.

    Who presses Ctrl-C would wait for it otherwise.
    """
    if thread.ident is not None and thread.is_alive():
        raised = ctypes.py_object(SystemExit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), raised)


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra keeps to one thread, also between the pieces that :func:`in_order` deals out.

    With several, sums have another order on another number of cores, and threads that wait for the
    next small product take a fifth of the processor time.
    """
    with _linear_algebra(len(sys.modules)).limit(limits=1):
        yield


@lru_cache(maxsize=1)
def _linear_algebra(_: int) -> ThreadpoolController:
    """Libraries with threads of their own, looked for again when more modules are loaded.

    Looking takes milliseconds, which add up over the many small pieces of a small audit.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array to fill: in memory, or in a nameless temporary file when it is large.

    The file lies where TMPDIR says, readable by nobody else, and is gone with the array.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype-like

    Raises
    ------
    StoreError
        The folder of temporary files has no room for it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= MOST_IN_MEMORY:
        return np.empty(shape, dtype=dtype)
    try:
        with tempfile.TemporaryFile(prefix="auscult-") as file:
            _reserve(file, size)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as error:
        raise StoreError(
            f"no room for a temporary file of {size / 1e9:.1f} GB ({error.strerror or error})",
            where=tempfile.gettempdir(),
            next_step="Free some space there, or name another folder in the environment: TMPDIR",
        ) from error


def _reserve(file: IO[bytes], size: int) -> None:
    """Give a new file all its space now: a mapped page without a place ends the process later."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
        return
    except AttributeError:  # macOS, Windows
        pass
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise  # no space; the others mean that this file system cannot reserve any
    file.seek(0)
    piece = bytes(PIECE_BYTES)
    for start in range(0, size, PIECE_BYTES):
        file.write(piece[: min(PIECE_BYTES, size - start)])
    file.flush()


def let_go(array: NDArray[Any]) -> None:
    """Take the pages of a mapped array out of memory; they are read again when needed.

    Where the system has no such call it takes pages back by itself when memory runs short.
    """
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if base is not None and advice is not None:
        base.madvise(advice)

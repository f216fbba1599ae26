"""Many files to one memory-mapped array: once, in processes of their own, resumable after a kill.

Workers are processes with a limit on their memory and nothing to print to: a file that makes its
decoder crash, or ask for too much, is left out and the others are read.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.base.files import write_json, write_whole
from auscult.base.leftovers import note_semaphores, temporary_folder
from auscult.base.parallel import cores
from auscult.base.pools import new_pool
from auscult.base.progress import SILENT, Progress
from auscult.cohort import LeftOut
from auscult.readers.cache import (
    ARRAY,
    INDEX,
    PLAN,
    assemble,
    cache_folder,
    fingerprint,
    held,
    part_path,
    tidy,
)
from auscult.readers.paths import Located

FILES_PER_PART = 64
PEEKED = 32
MOST_BYTES_OF_A_WORKER = 6 << 30
MOST_VALUES = 1 << 28  # of one file: 16384 x 16384 pixels, or 268 million samples
CRASHED = "its decoder crashed"
TOO_LARGE = f"larger than {MOST_VALUES:,} values"
TOO_MUCH = "it needs more memory than a decoder may have"
DAMAGED = "damaged, or not valid in its format"
OTHER_KIND = "a kind of file that is not supported"


class NotDecodedError(Exception):
    """A file that is left out, for one of few fixed reasons that never quote it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class Entries:
    """What one file holds.

    Attributes
    ----------
    arrays : sequence of array
        Each of the settings' shape and dtype.
    header : dict
        Values of the keywords asked for, None where absent. Secret.
    notes : tuple of str
        What was done to it that is worth counting.
    """

    arrays: Sequence[NDArray[Any]] = field(repr=False)
    header: dict[str, str | None] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


class Decoder(Protocol):
    """Settings that know how to read one file: a frozen dataclass of plain values and tuples."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def settle(self, paths: Sequence[Path]) -> Decoder:
        """Decide what was left open from the first files. Runs in a worker."""

    def layout(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of one entry."""

    def decode(self, path: Path) -> Entries:
        """Read one file, or raise NotDecodedError. Runs in a worker."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedFiles:
    """All entries of many files.

    Attributes
    ----------
    array : memory-mapped array, shape (entries, ...)
    source : int64 array, shape (entries,)
        Which of the names each entry is from; ascending.
    left_out : tuple of LeftOut
        Files that gave no entry, by reason.
    header : dict of str to list
        Per keyword one value for each name. Secret.
    notes : tuple of str
    decoder : Decoder
        As settled.
    """

    array: NDArray[Any]
    source: NDArray[np.int64]
    left_out: tuple[LeftOut, ...]
    header: dict[str, list[str | None]] = field(repr=False)
    notes: tuple[str, ...]
    decoder: Decoder


def decode_files(
    files: Located,
    decoder: Decoder,
    *,
    where: str,
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> DecodedFiles:
    """Decode files, or take what an earlier call decoded of the same files in the same way.

    Parameters
    ----------
    files : Located
    decoder : Decoder
    where : str
        The key that the files are from, for messages.
    cache : path-like, optional
        See :func:`cache_folder`.
    workers : int, optional
        Processes, one per core by default; only the speed.
    progress : Progress

    Raises
    ------
    CohortError
        No file can be decoded.
    """
    count = workers if workers is not None else cores()
    if count < 1:
        raise CohortError(f"{count} workers are too few", where="workers", expected="1 or more")
    said = repr((type(decoder).__name__, asdict(decoder)))
    folder = cache_folder(cache) / fingerprint(files, said)
    with held(folder) as alone:
        if alone:
            tidy(folder)
        work = _Work(folder, files, count)
        settled = work.settle(decoder)
        if not (folder / INDEX).is_file():
            work.decode(settled, progress)
            assemble(folder, work.parts(), settled.layout())
        return _opened(folder, settled, files, where)


class _Work:
    """What is to be done in one cache folder."""

    def __init__(self, folder: Path, files: Located, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        self._readable = [(i, path) for i, path in enumerate(files.paths) if path is not None]
        self._parts = [
            self._readable[start : start + FILES_PER_PART]
            for start in range(0, len(self._readable), FILES_PER_PART)
        ]

    def parts(self) -> int:
        return len(self._parts)

    def settle(self, decoder: Decoder) -> Decoder:
        """The decoder with nothing left open: the same after a kill."""
        from loky.process_executor import BrokenProcessPool

        plan = self._folder / PLAN
        if plan.is_file():
            return _revived(decoder, json.loads(plan.read_text(encoding="utf-8")))
        step = max(1, len(self._readable) // PEEKED)
        paths = [path for _, path in self._readable[::step]]
        try:
            with _pool(1) as (pool, folder):
                settling = pool.submit(_settle, decoder, paths)
                note_semaphores(folder)
                settled: Decoder = settling.result()
        except BrokenProcessPool:
            settled = decoder.settle([])
        write_json(plan, asdict(settled), secret=True)
        return settled

    def decode(self, decoder: Decoder, progress: Progress) -> None:
        progress.start("Decoding files", len(self._readable))
        done = [number for number in range(len(self._parts)) if self._is_done(number)]
        progress.advance(sum(len(self._parts[number]) for number in done))
        waiting = [number for number in range(len(self._parts)) if number not in set(done)]
        while waiting:
            if self._all(waiting, decoder, self._workers, (), progress):
                break
            # A worker died. Parts that were under way are done one by one, so that the file that
            # killed it is known; then the others go on together.
            begun = [n for n in waiting if not self._is_done(n) and self._doing(n) is not None]
            for number in begun:
                crashed: list[int] = []
                while not self._all([number], decoder, 1, crashed, progress):
                    killer = self._doing(number)
                    if killer is None or killer in crashed:
                        raise CohortError(
                            "worker processes die as they start", where="decoding files"
                        )
                    crashed.append(killer)
            waiting = [number for number in waiting if not self._is_done(number)]
        progress.finish()

    def _all(
        self,
        numbers: Sequence[int],
        decoder: Decoder,
        workers: int,
        crashed: Sequence[int],
        progress: Progress,
    ) -> bool:
        """Decode parts; False when a worker died."""
        from concurrent.futures import as_completed

        from loky.process_executor import BrokenProcessPool

        with _pool(min(workers, len(numbers))) as (pool, folder):
            tasks = {
                pool.submit(
                    decode_part, self._folder, number, self._parts[number], decoder, tuple(crashed)
                ): number
                for number in numbers
            }
            note_semaphores(folder)
            try:
                for task in as_completed(tasks):
                    task.result()
                    progress.advance(len(self._parts[tasks[task]]))
            except BrokenProcessPool:
                return False
        return True

    def _is_done(self, number: int) -> bool:
        return part_path(self._folder, number, "json").is_file()

    def _doing(self, number: int) -> int | None:
        try:
            return int((self._folder / f"doing-{number}").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None


def decode_part(
    folder: Path,
    number: int,
    files: Sequence[tuple[int, Path]],
    decoder: Decoder,
    crashed: Sequence[int] = (),
) -> None:
    """Decode some files into one part. Runs in a worker.

    Entries go to the disk one by one: a part never lies in memory.

    Parameters
    ----------
    folder : Path
        The cache.
    number : int
        Of the part.
    files : sequence of (int, Path)
        Number and path of each file.
    decoder : Decoder
    crashed : sequence of int
        Numbers of files that ended a worker: they are left out.
    """
    shape, dtype = decoder.layout()
    content: dict[str, list[Any]] = {"source": [], "left_out": [], "header": [], "notes": []}
    doing = folder / f"doing-{number}"
    flags = os.O_CREAT | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    marker = os.fdopen(os.open(doing, flags, 0o600), "wb", buffering=0)

    def write(handle: IO[bytes]) -> None:
        for index, path in files:
            marker.seek(0)
            marker.write(b"%019d" % index)  # opening a file for each costs more than a PNG
            try:
                if index in crashed:
                    raise NotDecodedError(CRASHED)
                found = _safely(decoder, path)
            except NotDecodedError as error:
                content["left_out"].append([index, error.reason])
                continue
            for array in found.arrays:
                if array.shape != shape or array.dtype != np.dtype(dtype):
                    raise TypeError(f"a decoder made {array.shape} {array.dtype}")
                handle.write(np.ascontiguousarray(array).data)
            content["source"].extend([index] * len(found.arrays))
            content["notes"].extend(found.notes)
            if found.header:
                content["header"].append([index, found.header])

    try:
        write_whole(part_path(folder, number, "bin"), write, secret=True)
    finally:
        marker.close()
    notes = dict(Counter(content.pop("notes")))
    write_json(part_path(folder, number, "json"), {**content, "notes": notes}, secret=True)
    doing.unlink(missing_ok=True)


def _safely(decoder: Decoder, path: Path) -> Entries:
    """Whatever a library says about a hostile file becomes one of our own reasons."""
    try:
        return decoder.decode(path)
    except NotDecodedError:
        raise
    except MemoryError:
        raise NotDecodedError(TOO_MUCH) from None
    except Exception:  # decoders raise anything, and their texts quote the file
        raise NotDecodedError(DAMAGED) from None


def _settle(decoder: Decoder, paths: Sequence[Path]) -> Decoder:
    return decoder.settle(paths)


def _revived(decoder: Decoder, content: dict[str, Any]) -> Decoder:
    settled = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    return type(decoder)(**settled)


@contextmanager
def _pool(workers: int) -> Iterator[tuple[Any, Path]]:
    """Workers, and the folder that tells whoever comes after a kill what they left."""
    with temporary_folder() as folder:
        pool = new_pool(
            workers,
            initializer=_begin_worker,
            env=dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        )
        note_semaphores(folder)
        try:
            yield pool, folder
        finally:
            pool.shutdown(wait=True, kill_workers=True)


def _begin_worker() -> None:
    """Little memory, and nothing to say: libraries quote headers in their warnings."""
    import logging
    import warnings

    os.umask(0o077)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _limit()


def _limit() -> None:
    """Bound memory and forbid core dumps, where the system does: Windows and macOS may not."""
    import contextlib

    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump holds pixels and headers
    with contextlib.suppress(OSError, ValueError, AttributeError):
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = MOST_BYTES_OF_A_WORKER
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _opened(folder: Path, decoder: Decoder, files: Located, where: str) -> DecodedFiles:
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    reasons = Counter(reason for reason in files.reasons if reason)
    reasons.update(reason for _, reason in index["left_out"])
    left_out = tuple(LeftOut(reason, count) for reason, count in sorted(reasons.items()))
    if not index["source"]:
        told = "; ".join(f"{one.records:,}: {one.reason}" for one in left_out)
        raise CohortError(
            f"none of the {len(files.names):,} files can be decoded",
            where=where,
            expected="files that are read",
            next_step=f"Reasons: {told}",
        )
    try:
        array = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CohortError(
            f"the cache is damaged ({type(error).__name__})",
            where=str(folder),
            next_step="Delete this folder: the files are then decoded again",
        ) from error
    header: dict[str, list[str | None]] = {}
    for place, values in index["header"]:
        for name, value in values.items():
            header.setdefault(name, [None] * len(files.names))[place] = value
    return DecodedFiles(
        array=array,
        source=np.asarray(index["source"], dtype=np.int64),
        left_out=left_out,
        header=header,
        notes=tuple(f"{text}: {count:,}" for text, count in index["notes"].items()),
        decoder=decoder,
    )

"""The cache of decoded files: one folder per set of files and settings, private, written in parts.

A part exists or it does not, so a decoding that was killed goes on where it stopped. The cache
holds pixels of patients and, where asked for, values of headers: folders of mode 0700, files of
mode 0600. No file name is kept in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from auscult.base.errors import CohortError
from auscult.base.files import write_json, write_whole
from auscult.readers.paths import Located

FORMAT = 2  # of the cache, and of what decoders make of a file: raise it when either changes
ARRAY, INDEX, PLAN = "array.npy", "index.json", "plan.json"


def cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    """Where decoded arrays are kept: as said, AUSCULT_CACHE, or the user's cache folder."""
    if cache is not None:
        return Path(cache)
    said = os.environ.get("AUSCULT_CACHE")
    if said:
        return Path(said)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "auscult"


def fingerprint(files: Located, settings: str) -> str:
    """Names, sizes and times of the files, the settings, and the libraries that decode."""
    from importlib.metadata import PackageNotFoundError, version

    libraries = []
    for name in ("pillow", "pydicom", "nibabel", "wfdb", "scipy", "pylibjpeg-openjpeg"):
        try:
            libraries.append((name, version(name)))
        except PackageNotFoundError:
            libraries.append((name, ""))
    digest = hashlib.sha256(repr((FORMAT, settings, libraries)).encode())
    for name, reason, size, time in zip(
        files.names, files.reasons, files.sizes, files.times, strict=True
    ):
        digest.update(f"{name}\0{reason}\0{size}\0{time}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """A cache folder that one process writes at a time; others wait for what it makes.

    False where the file system has no locks: parts are written whole all the same.
    """
    from filelock import FileLock

    lock = FileLock(folder / "lock", mode=0o600, thread_local=False, fallback_to_soft=False)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)  # fails where it is somebody else's: what it holds is not believed then
        (folder / "lock").touch(mode=0o600)
    except OSError as error:
        raise CohortError(
            f"the cache cannot be written ({error.strerror or error})",
            where=str(folder.parent),
            next_step="Name another folder: cohort.cache, or AUSCULT_CACHE in the environment",
        ) from error
    try:
        taken = lock.acquire()
    except (OSError, NotImplementedError):
        yield False
        return
    with taken:
        yield True


def tidy(folder: Path) -> None:
    """Remove what a kill left: half-written files, and parts that are in the array already."""
    patterns = [".*.part", "doing-*", *(["part-*"] if (folder / INDEX).is_file() else [])]
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def part_path(folder: Path, number: int, ending: str) -> Path:
    """Where a part is: `bin` its entries, `json` what they are; the latter makes it exist.

    Parameters
    ----------
    folder : Path
    number : int
    ending : {"bin", "json"}
    """
    return folder / f"part-{number:06d}.{ending}"


def assemble(folder: Path, parts: int, layout: tuple[tuple[int, ...], str]) -> None:
    """Parts to one array and one index; the index is written last, and makes it exist.

    Parameters
    ----------
    folder : Path
    parts : int
        Number of parts, all of them finished.
    layout : tuple of shape and dtype
        Of one entry.
    """
    contents = [
        json.loads(part_path(folder, number, "json").read_text(encoding="utf-8"))
        for number in range(parts)
    ]
    source = [index for content in contents for index in content["source"]]
    shape, dtype = layout

    def write(handle: IO[bytes]) -> None:
        head = {
            "descr": np.dtype(dtype).str,
            "fortran_order": False,
            "shape": (len(source), *shape),
        }
        np.lib.format.write_array_header_1_0(handle, head)
        for number in range(parts):
            with part_path(folder, number, "bin").open("rb") as part:
                shutil.copyfileobj(part, handle, 1 << 20)

    notes: Counter[str] = Counter()
    for content in contents:
        notes.update(content["notes"])
    write_whole(folder / ARRAY, write, secret=True)
    index = {
        "source": source,
        "left_out": [one for content in contents for one in content["left_out"]],
        "header": [one for content in contents for one in content["header"]],
        "notes": dict(notes),
    }
    write_json(folder / INDEX, index, secret=True)
    for number in range(parts):
        part_path(folder, number, "bin").unlink(missing_ok=True)
        part_path(folder, number, "json").unlink(missing_ok=True)

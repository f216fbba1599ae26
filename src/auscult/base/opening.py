"""What every door does first: refuse what is no plain file, and say why one cannot be read.

Whatever a file holds, the answer is an :class:`~auscult.base.errors.AuscultError`. Libraries quote
what they stumble over, which may be a patient's: nothing that they raise is passed on or chained.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError
from auscult.base.parallel import available_memory

DAMAGED = "it cannot be read: damaged, or another kind of file"
MOST_TEXT_BYTES = 1 << 28
DEEPEST = 100


def cause_of(caught: BaseException) -> str:
    """Why something cannot be read, in words that name the cause and no value.

    Parameters
    ----------
    caught : BaseException
        What the library or the system raised.
    """
    if isinstance(caught, FileNotFoundError):
        return "there is no such file"
    if isinstance(caught, PermissionError):
        return "you may not read it"
    if isinstance(caught, IsADirectoryError):
        return "it is a folder"
    if isinstance(caught, MemoryError):
        return "it is larger than the available memory, or its header says so"
    if isinstance(caught, RecursionError):
        return "it is nested too deeply"
    if isinstance(caught, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(caught, OSError) and caught.errno is not None and caught.strerror:
        return f"it cannot be read: {caught.strerror.lower()}"
    return DAMAGED


@contextmanager
def reading(
    where: str, error: type[AuscultError], *, expected: str = "", next_step: str = ""
) -> Iterator[None]:
    """Turn whatever reading raises into one error; an AuscultError passes as it is.

    Parameters
    ----------
    where : str
    error : type of AuscultError
    expected, next_step : str, optional

    Raises
    ------
    AuscultError
        Of the type `error`.
    """
    try:
        yield
    except AuscultError:
        raise
    except Exception as caught:  # whatever it holds
        what = cause_of(caught)
    else:
        return
    raise error(what, where=where, expected=expected, next_step=next_step)


def refuse_special(
    path: Path, where: str, error: type[AuscultError], *, most_bytes: int | None = None
) -> None:
    """Refuse a pipe or a device, which would be waited for, and a file that is too large.

    Parameters
    ----------
    path : Path
    where : str
    error : type of AuscultError
    most_bytes : int, optional

    Raises
    ------
    AuscultError
        It is missing, no regular file, or too large.
    """
    with reading(where, error, next_step="Check the path and its folder"):
        size = path.stat().st_size
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "it is not a regular file"
        raise error(what, where=where, expected="a file", next_step="Check the path")
    if most_bytes is not None and size > most_bytes:
        raise error(
            f"it has {size:,} bytes", where=where, expected=f"at most {most_bytes:,} bytes of text"
        )


def read_text(
    path: Path,
    where: str,
    error: type[AuscultError],
    *,
    most_bytes: int = MOST_TEXT_BYTES,
    next_step: str = "",
) -> str:
    """UTF-8 text of a regular file of bounded size.

    Parameters
    ----------
    path : Path
    where : str
        Name of the file, for messages.
    error : type
        Kind of error that is raised.
    most_bytes : int
    next_step : str
        For messages.

    Raises
    ------
    AuscultError
    """
    refuse_special(path, where, error, most_bytes=most_bytes)
    with reading(where, error, expected="UTF-8 text", next_step=next_step):
        return path.read_text(encoding="utf-8")


def parse_json(content: str | bytes, where: str, error: type[AuscultError], **said: str) -> Any:  # noqa: ANN401
    """Any JSON value, not nested more than a hundred deep.

    Parameters
    ----------
    content : str or bytes
    where : str
    error : type of AuscultError
    **said : str
        `expected` and `next_step` of the error.

    Raises
    ------
    AuscultError
    """
    with reading(where, error, **said):
        value = json.loads(content)
    if depth(value) > DEEPEST:
        raise error("it is nested too deeply", where=where, **said)
    return value


def depth(value: object) -> int:
    """How deeply lists and mappings are nested in a value, 0 for a plain one.

    It does not recurse, so that no depth is too much for it.
    """
    level, deepest = [value], 0
    while True:
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list | tuple):
                inner += one
        held = any(isinstance(one, dict | list | tuple) for one in level)
        if not held:
            return deepest
        level, deepest = inner, deepest + 1


def npz_arrays(
    path: Path,
    where: str,
    error: type[AuscultError],
    *,
    names: Collection[str] | None = None,
    expected: str = "a complete npz file of plain arrays; Python objects are never read",
    next_step: str = "",
) -> dict[str, NDArray[Any]]:
    """Arrays of an npz, or those that are named; nothing is unpacked before its size is known.

    Parameters
    ----------
    path : Path
    where : str
    error : type of AuscultError
    names : collection of str, optional
        Others are not unpacked; those that are not there are left out.
    expected, next_step : str, optional

    Raises
    ------
    AuscultError
        It is missing, damaged, holds Python objects, or unpacks to more than the memory.
    """
    refuse_special(path, where, error)
    with reading(where, error, expected=expected, next_step=next_step):
        with zipfile.ZipFile(path) as archive:
            members = [
                info
                for info in archive.infolist()
                if names is None or info.filename.removesuffix(".npy") in names
            ]
            size = sum(declared_size(archive, info) for info in members)
        refuse_too_large(size, where, error)
        with np.load(path, allow_pickle=False) as content:
            return {
                name: np.asarray(content[name])
                for name in content.files
                if names is None or name in names
            }


def declared_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Bytes that an npy member says it has, which must be what the archive says it unpacks to.

    Raises
    ------
    ValueError
        It is no npy, holds Python objects, or its header and its size disagree.
    """
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        elif version in ((2, 0), (3, 0)):  # the third differs from the second in field names only
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        else:
            raise ValueError("an unknown version of npy")
        begun = member.tell()
    if dtype.hasobject:
        raise ValueError("Python objects")
    size = math.prod(map(int, shape)) * dtype.itemsize
    if size != info.file_size - begun:
        raise ValueError("its header and its size disagree")
    return size


def npy_array(
    path: Path,
    where: str,
    error: type[AuscultError],
    *,
    expected: str = "a complete npy file of a plain array; Python objects are never read",
) -> NDArray[Any]:
    """The array of an npy, mapped into memory.

    Parameters
    ----------
    path : Path
    where : str
        Name of the file, for messages.
    error : type
        Kind of error that is raised.
    expected : str
        For messages.

    Raises
    ------
    AuscultError
        It is missing, damaged, an npz, or holds Python objects.
    """
    refuse_special(path, where, error)
    with reading(where, error, expected=expected):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        array.close()
    raise error("it is not an npy file", where=where, expected=expected)


def refuse_too_large(size: int, where: str, error: type[AuscultError]) -> None:
    """Refuse what unpacks to more than the memory that is available.

    Parameters
    ----------
    size : int
        Bytes when unpacked.
    where : str
        Name of the file, for messages.
    error : type
        Kind of error that is raised.

    Raises
    ------
    AuscultError
    """
    available = available_memory()
    if available is not None and size > available:
        raise error(
            f"it would unpack to {size / 1e9:.1f} GB, but only {available / 1e9:.1f} GB of memory "
            "are available",
            where=where,
            next_step="Save 32-bit floats, or use a machine with more memory",
        )


def whole_numbers(values: object) -> bool:
    """Whether a JSON value is a list of whole numbers from 0."""
    return isinstance(values, Sequence) and all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in values
    )

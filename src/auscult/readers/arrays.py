"""Images and signals from npy and npz files, memory-mapped where the file allows. No pickle."""

from __future__ import annotations

import mmap
import os
import zipfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError, CohortError, one_of
from auscult.base.opening import declared_size, reading, refuse_special
from auscult.base.parallel import available_memory
from auscult.base.plugins import Described, PluginError, Registry

FEW_CHANNELS = 4
LOCAL_HEADER = 30
OBJECTS = "plain numbers; Python objects are never read"


def read_array(data: Any, key: str | None) -> tuple[NDArray[Any], str]:  # noqa: ANN401
    """Open an array and say where it is from.

    Parameters
    ----------
    data : path-like or array
    key : str or None
        Which array of an npz; needed when there are several.

    Raises
    ------
    CohortError
        Missing, damaged, of the wrong kind, or not numbers.
    """
    if isinstance(data, np.ndarray):
        if key is not None:
            raise CohortError("a key requires an npz file", where="array")
        array, where = data, "array"
    elif not isinstance(data, str | os.PathLike):
        raise CohortError(
            f"{type(data).__name__} is not an array",
            where="array",
            expected="a path to .npy or .npz, or a numpy array",
        )
    else:
        path = Path(data)
        where = str(path)
        if not is_array_file(where):
            raise CohortError(
                "this kind of file is not supported",
                where=where,
                expected=" or ".join(f".{name}" for name in READERS.names()),
            )
        reader = reader_of(where)
        origin = READERS.origin(reader.name)
        refuse_special(path, where, CohortError)
        with reading(where, CohortError, expected=f"a complete file that holds {OBJECTS}"):
            try:
                array = reader.read(path, key)
            except (AuscultError, OSError):
                raise
            except Exception as error:
                if origin is None:
                    raise
                raise CohortError(
                    f"it cannot be read ({type(error).__name__})",
                    where=where,
                    expected=f"a complete file that holds {OBJECTS}",
                    next_step=f"It is read by {origin}",
                ) from error
        if not isinstance(array, np.ndarray):
            raise PluginError(
                f"it returned {type(array).__name__}",
                where=f'array reader "{reader.name}" of {origin}',
                expected="a numpy array",
            )
    if array.dtype.kind not in "biuf":
        raise CohortError(f"it holds {array.dtype}", where=where, expected=OBJECTS)
    if array.ndim < 2 or array.ndim > 4:
        raise CohortError(
            f"it has shape {array.shape}",
            where=where,
            expected="(records, height, width), (records, height, width, channels), (records, "
            "channels, height, width) or (records, length)",
            next_step="Volumes of several channels: put slices and channels on one axis, "
            "array.reshape(records, slices * channels, height, width)"
            if array.ndim > 4
            else "",
        )
    if not array.size:
        raise CohortError(
            f"it has shape {array.shape}", where=where, expected="no axis of length 0"
        )
    return _that_travels(array), where


class ArrayReader(Described, unfinished=True):
    """Reads one kind of file into an array, first axis the records.

    Attributes
    ----------
    name : str
        The ending of its files without the dot: "npy" for ``.npy``.
    label : str
        The kind of file, for people.
    """

    @abstractmethod
    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        """Read a file whole, or map it; values as they stand, records in the file's order.

        Parameters
        ----------
        path : Path
        key : str or None
            Which array, of files that hold several; refuse it where it would be ignored.

        Raises
        ------
        CohortError
            Which array is meant cannot be told, or there is none of that name.
        Exception
            The file is damaged: the message is then made here.
        """


READERS: Registry[ArrayReader] = Registry("array reader", ArrayReader)


def is_array_file(file: str) -> bool:
    """Whether a path ends as the files of a reader do."""
    return Path(file).suffix.lower().removeprefix(".") in READERS.names()


def reader_of(file: str) -> ArrayReader:
    """The reader of a file by the ending of its name."""
    return READERS.get(Path(file).suffix.lower().removeprefix("."), file)


def read_by(data: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Notes that say which package read an array, where it was not Auscult."""
    if not isinstance(data, str | os.PathLike):
        return ()
    reader = reader_of(os.fspath(data))
    origin = READERS.origin(reader.name)
    return () if origin is None else (f"{reader.label} read by {origin}",)


def channel_axis(shape: tuple[int, ...], said: str, where: str) -> str:
    """Where the channels are: "none", "first" or "last".

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    said : str
        What the configuration says, "auto" where it leaves it open.
    where : str
        Name of the file, for messages.

    Raises
    ------
    CohortError
        The shape does not tell, or contradicts what was said.
    """
    first = len(shape) == 4 and shape[1] <= FEW_CHANNELS
    last = len(shape) == 4 and shape[3] <= FEW_CHANNELS
    if said == "auto":
        if len(shape) < 4:
            return "none"
        if first != last:
            return "first" if first else "last"
        raise CohortError(
            f"the shape {shape} does not determine which axis holds the channels",
            where=where,
            next_step='Declare it: channels = "first" or "last" under [cohort]; the slices of a '
            "volume (records, slices, height, width) are its channels, first",
        )
    if said not in ("none", "first", "last"):
        raise CohortError(
            f'"{said}" is not a position of channels',
            where="cohort.channels",
            expected="auto, none, first or last",
        )
    if (said == "none") != (len(shape) < 4) and not (len(shape) == 3 and said == "first"):
        raise CohortError(
            f"the shape {shape} has no channels at that position", where=f"cohort.channels = {said}"
        )
    return said


def count_broken(array: NDArray[Any], rows: NDArray[np.int64]) -> int:
    """Records with NaN or infinity."""
    if array.dtype.kind != "f":
        return 0
    broken = 0
    for start in range(0, len(rows), 1024):
        piece = np.asarray(array[rows[start : start + 1024]])
        broken += int((~np.isfinite(piece.reshape(len(piece), -1)).all(axis=1)).sum())
    return broken


def without_nan(array: NDArray[Any], value: float) -> tuple[NDArray[Any], int]:
    """The array with a value in place of NaN, and in how many records.

    It is copied into memory where any is NaN; infinity stays, and is refused later.
    """
    if array.dtype.kind != "f" or not np.isfinite(value):
        return array, 0
    holders = [
        start + int(i)
        for start in range(0, len(array), 1024)
        for i in np.flatnonzero(
            np.isnan(np.asarray(array[start : start + 1024]))
            .reshape(min(1024, len(array) - start), -1)
            .any(axis=1)
        )
    ]
    if not holders:
        return array, 0
    filled = np.array(array)
    for row in holders:
        filled[row][np.isnan(filled[row])] = value
    return filled, len(holders)


def _that_travels(array: NDArray[Any]) -> NDArray[Any]:
    """The same values in a form that worker processes get right.

    A memory map goes to them as path, offset and shape, which tells all of it only when it is a
    whole map in C order: a slice keeps its parent's offset, Fortran order and values changed in
    memory would be lost. Those travel as values. Other byte orders are turned, for recipes.
    """
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    if isinstance(array, np.memmap):
        whole = isinstance(array.base, mmap.mmap) and array.mode != "c"
        return array if whole and array.flags.c_contiguous else np.asarray(array)
    return array


class _Npy(ArrayReader):
    name = "npy"
    label = "npy file"

    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        """See :meth:`ArrayReader.read`."""
        return _npy(path, key)


class _Npz(ArrayReader):
    name = "npz"
    label = "npz file"

    def read(self, path: Path, key: str | None) -> NDArray[Any]:
        """See :meth:`ArrayReader.read`."""
        return _npz(path, key)


READERS.add(_Npy())
READERS.add(_Npz())


def _npy(path: Path, key: str | None) -> NDArray[Any]:
    if key is not None:
        raise CohortError("a key requires an npz file", where=str(path))
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise CohortError("it is not an npy file", where=str(path), expected=OBJECTS)
    return array


def _npz(path: Path, key: str | None) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if key is None and len(names) == 1:
            key = names[0]
        if key not in names:
            raise CohortError(
                "which array is meant?" if key is None else f'there is no array "{key}"',
                where=str(path),
                expected=one_of(key or "", names),
                next_step='Set array = "..." under [cohort]',
            )
        info = archive.getinfo(f"{key}.npy")
        size = declared_size(archive, info)
    mapped = _map_member(path, info) if info.compress_type == zipfile.ZIP_STORED else None
    if mapped is not None:
        return mapped
    available = available_memory()
    if available is not None and size > available:
        raise CohortError(
            f"the array would unpack to {size / 1e9:.1f} GB, but only {available / 1e9:.1f} GB of "
            "memory are available",
            where=str(path),
            next_step="Save it uncompressed (numpy.savez or numpy.save): it is then mapped",
        )
    with np.load(path, allow_pickle=False) as content:
        return np.asarray(content[key])


def open_small(path: Path, most_values: int) -> dict[str, NDArray[Any]]:
    """All arrays of an npz, or the one of an npy as "signal"; texts and numbers only.

    Nothing is unpacked before its size is known from the headers.

    Raises
    ------
    ValueError
        The file is damaged, holds Python objects, or all arrays together are larger than allowed.
    """
    if path.suffix.lower() == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.size > most_values:
            raise ValueError("too large")
        return {"signal": np.asarray(array)}
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        if sum(declared_size(archive, info) for info in members) > 8 * most_values:
            raise ValueError("too large")
    with np.load(path, allow_pickle=False) as content:
        return {name: np.asarray(content[name]) for name in content.files}


def _map_member(path: Path, info: zipfile.ZipInfo) -> NDArray[Any] | None:
    """Memory map of an uncompressed member, or None where its npy header is not a plain one."""
    with path.open("rb") as handle:
        handle.seek(info.header_offset)
        local = handle.read(LOCAL_HEADER)
        name, extra = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
        handle.seek(info.header_offset + LOCAL_HEADER + name + extra)
        version = np.lib.format.read_magic(handle)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            return None
        shape, fortran, dtype = readers[version](handle)
        if dtype.hasobject or fortran:
            return None
        offset = handle.tell()
    return np.memmap(os.fspath(path), dtype=dtype, mode="r", shape=shape, offset=offset)


def arrays_by_name(
    array: Any,  # noqa: ANN401
    key: str | Sequence[str] | None,
    alone: str,
    taken: str,
) -> dict[str, tuple[NDArray[Any], str]]:
    """One array or several, each with its name for messages.

    Parameters
    ----------
    array : array, path-like or mapping
    key : str, sequence of str or None
        Names of an npz.
    alone : str
        What one array is called.
    taken : str
        A name that no array may have.
    """
    if key is None or isinstance(key, str):
        return {alone: read_array(array, key)}
    if not key or taken in key:
        raise CohortError(
            "no array is named" if not key else f'an array is called "{taken}"',
            where="cohort.array",
            expected=f'names of arrays; "{taken}" is that of the table',
        )
    return {name: read_array(array, name) for name in key}


def finite_array(
    values: NDArray[Any], rows: NDArray[np.int64], where: str, nan: float | None
) -> tuple[NDArray[Any], list[str]]:
    """An array without NaN, and what to note.

    Parameters
    ----------
    values : array
    rows : int64 array
        Entries that are used.
    where : str
    nan : float, optional
        What NaN is replaced with; None refuses it.
    """
    notes: list[str] = []
    if nan is not None:
        values, filled = without_nan(values, nan)
        notes.append(f"NaN in {filled:,} entries of the array was read as {nan:g}")
    broken = count_broken(values, rows)
    if broken:
        raise CohortError(
            f"{broken} records hold NaN or infinity",
            where=where,
            expected="finite numbers",
            next_step="If NaN is a background, declare what your code replaces it with: nan = "
            "0.0 under [cohort]"
            if nan is None
            else "Infinity is never read",
        )
    return values, notes

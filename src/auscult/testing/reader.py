"""Checks of array readers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.readers.arrays import READERS, ArrayReader
from auscult.testing.failing import Subject

Write = Callable[[Path, NDArray[Any]], object]


def check_reader(reader: ArrayReader | str, write: Write) -> None:
    """Check an array reader: it gives what was written.

    Every shape that an audit takes comes back with its records, in their order, and its values; one
    record stays one record; reading changes no file and gives the same every time; an array that is
    not in the file, and a damaged file, are errors.

    Parameters
    ----------
    reader : ArrayReader or str
        Or the ending of its files.
    write : callable
        ``write(path, array)`` writes a file that holds this array, and nothing else.

    Raises
    ------
    CheckError
        Names the first property that does not hold.
    """
    if isinstance(reader, str):
        reader = READERS.get(reader, "check_reader")
    subject = Subject("array reader", reader.name)
    with tempfile.TemporaryDirectory() as folder:
        for number, array in enumerate(_arrays()):
            path = Path(folder) / f"it has spaces {number}.{reader.name}"
            write(path, array)
            _check_one(subject, reader, path, array)
        _check_refusals(subject, reader, path)


def _arrays() -> list[NDArray[Any]]:
    rng = np.random.default_rng(8)
    values = rng.normal(size=(7, 5, 4, 3))
    return [
        values[:, :, 0, 0],
        values[:, :, :, 0].astype(np.float32),
        values,
        np.asfortranarray(values[:5, :, :, 0]),  # as many records as pixels in a row
        (100 * np.abs(values[:, :, :, 0])).astype(np.uint8),
        values[:1, :, :, 0],  # one record
        values[:, :1, 0, 0],  # one value
    ]


def _check_one(subject: Subject, reader: ArrayReader, path: Path, written: NDArray[Any]) -> None:
    before = path.read_bytes()
    with subject.doing(f"reading an array of shape {written.shape}"):
        found = reader.read(path, None)
        again = reader.read(path, None)
    subject.need(isinstance(found, np.ndarray), f"it returns {type(found).__name__}, not an array")
    subject.need(
        found.shape[:1] == written.shape[:1],
        f"it returns {found.shape[0] if found.ndim else 'no'} records of {written.shape[0]} "
        f"(shape {found.shape} of {written.shape})",
    )
    subject.need(found.shape == written.shape, f"it returns shape {found.shape} of {written.shape}")
    subject.need(
        found.dtype.kind in "biuf", f"it returns {found.dtype} for {written.dtype}: not numbers"
    )
    subject.need(
        np.array_equal(np.sort(found, axis=0), np.sort(written, axis=0)),
        f"its values of shape {written.shape} and {written.dtype} are not those of the file",
    )
    subject.need(np.array_equal(found, written), "its records are not in the file's order")
    subject.need(np.array_equal(found, again), "it returns a different array every time")
    subject.need(path.read_bytes() == before, "it changes the file")


def _check_refusals(subject: Subject, reader: ArrayReader, path: Path) -> None:
    whole = path.read_bytes()
    damaged = path.with_name(f"damaged.{reader.name}")
    cases = (("which is empty", b""), ("of which half is missing", whole[: len(whole) // 2]))
    for what, content in (*cases, ("of other content", b"no array, but a text " * 40)):
        damaged.write_bytes(content)
        subject.need(_refuses(reader, damaged, None), f"it reads a file {what} without an error")
    subject.need(
        _refuses(reader, path, "an array that is not there"),
        "it ignores which array is asked for (key): raise a CohortError where there is none of "
        "that name",
    )


def _refuses(reader: ArrayReader, path: Path, key: str | None) -> bool:
    try:
        reader.read(path, key)
    except Exception:  # any error will do: its message is made by the caller
        return True
    return False

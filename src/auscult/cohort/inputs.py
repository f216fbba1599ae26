"""What models read: a table of columns or an array of images or signals, one entry per record.

An input says what it is and hands out rows. It never scales, imputes or encodes: that is the
recipe's job, on each model's own members.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class TableInputs:
    """Columns of a table, for the built-in encoders and as they stand in the file.

    Attributes
    ----------
    numeric : float32 array, shape (records, numeric columns)
        NaN where missing; never infinite.
    numeric_names : tuple of str
    codes : int32 array, shape (records, categorical columns)
        Index into the column's levels, -1 where missing.
    categorical_names : tuple of str
    levels : tuple of tuple of str
        Levels of each categorical column, after rare ones were pooled.
    own : DataFrame, shape (records, columns of the file), optional
        The same records as the user's own code gets them: columns in the file's order with the
        file's types, nothing pooled, narrowed or left out for having one value only.
    """

    numeric: NDArray[np.float32]
    numeric_names: tuple[str, ...]
    codes: NDArray[np.int32]
    categorical_names: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    own: pd.DataFrame | None = None

    def __repr__(self) -> str:
        return (
            f"TableInputs({len(self):,} records, {len(self.numeric_names)} numeric and "
            f"{len(self.categorical_names)} categorical columns)"
        )

    def __len__(self) -> int:
        return int(self.numeric.shape[0])

    def frame(self) -> pd.DataFrame:
        """What the built-in encoders read: floats and categoricals, NaN where missing."""
        # One array, in the order that columns have in memory: there may be tens of thousands.
        values = np.asarray(self.numeric, dtype=np.float64, order="F")
        numbers = pd.DataFrame(values, columns=[*self.numeric_names], copy=False)
        columns = {
            name: pd.Categorical.from_codes(
                self.codes[:, j].astype(np.int64), categories=pd.Index(self.levels[j])
            )
            for j, name in enumerate(self.categorical_names)
        }
        categories = pd.DataFrame(columns)
        if not columns:
            return numbers
        return pd.concat([numbers, categories], axis=1) if self.numeric_names else categories

    def table(self) -> pd.DataFrame:
        """What the user's own code gets; a copy, since that code may write into it."""
        return self.frame() if self.own is None else self.own.copy()

    @property
    def nbytes(self) -> int:
        """Bytes of all records."""
        own = 0 if self.own is None else int(self.own.memory_usage(deep=True).sum())
        return int(self.numeric.nbytes + self.codes.nbytes) + own

    def fingerprint(self) -> str:
        """SHA-256 of names, levels, types and values."""
        digest = hashlib.sha256(
            repr((self.numeric_names, self.categorical_names, self.levels)).encode()
        )
        digest.update(np.ascontiguousarray(self.numeric).data)
        digest.update(np.ascontiguousarray(self.codes).data)
        for name, column in () if self.own is None else self.own.items():
            digest.update(repr((name, str(column.dtype))).encode())
            if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
                digest.update(np.ascontiguousarray(column.to_numpy()).data)
            else:
                digest.update(repr(column.tolist()).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayInputs:
    """Images or signals; row i is record i.

    Attributes
    ----------
    array : array, shape (rows, ...)
        In memory or memory-mapped. A memory-mapped array travels to workers as its path.
    rows : int64 array, shape (records,)
        Which row of `array` each record is: a cohort that leaves records out copies nothing.
    channels : {"none", "first", "last"}
        Where the channel axis is.
    """

    array: NDArray[Any]
    rows: NDArray[np.int64]
    channels: str

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.array.shape[1:]))
        return (
            f"ArrayInputs({len(self):,} records of {shape}, {self.array.dtype}, "
            f"channels {self.channels})"
        )

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def take(self, records: NDArray[np.int64]) -> NDArray[Any]:
        """The records' entries, copied, shape (len(records), ...), in the array's own dtype."""
        return np.asarray(self.array[self.rows[records]])

    @property
    def nbytes(self) -> int:
        """Bytes of all records."""
        return int(self.array.nbytes)

    def fingerprint(self) -> str:
        """SHA-256 of shape, dtype and the values of the records kept."""
        digest = hashlib.sha256(
            repr((self.array.shape[1:], self.array.dtype.str, self.channels)).encode()
        )
        for start in range(0, len(self), 1024):
            piece = self.take(np.arange(start, min(start + 1024, len(self))))
            digest.update(np.ascontiguousarray(piece).data)
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        array: Any = self.array
        if isinstance(array, np.memmap) and array.filename is not None and array.base is not None:
            array = _MappedArray(Path(array.filename), array.dtype.str, array.shape, array.offset)
        return {"array": array, "rows": self.rows, "channels": self.channels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        array = state["array"]
        if isinstance(array, _MappedArray):
            array = np.memmap(
                array.path, dtype=array.dtype, mode="r", shape=array.shape, offset=array.offset
            )
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "rows", state["rows"])
        object.__setattr__(self, "channels", state["channels"])


@dataclass(frozen=True, kw_only=True, eq=False)
class NamedInputs:
    """Several inputs of the same records, by name: an image and a table, an image and a mask.

    Attributes
    ----------
    parts : dict of str to TableInputs or ArrayInputs
        Training functions get a dictionary of the same names.
    """

    parts: dict[str, TableInputs | ArrayInputs]

    def __repr__(self) -> str:
        return ", ".join(f"{name}: {part!r}" for name, part in self.parts.items())

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    @property
    def nbytes(self) -> int:
        """Bytes of all records."""
        return sum(part.nbytes for part in self.parts.values())

    def fingerprint(self) -> str:
        """SHA-256 of names and parts."""
        each = [(name, part.fingerprint()) for name, part in self.parts.items()]
        return hashlib.sha256(repr(each).encode()).hexdigest()


@dataclass(frozen=True)
class _MappedArray:
    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int


Inputs = TableInputs | ArrayInputs | NamedInputs


def pooled(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means over blocks of images or signals, flat: at most `side` along the last two axes.

    Parameters
    ----------
    values : float32 array, shape (records, ...)
        Images with their last two axes in space, or signals with their last one in time.
    side : int

    Returns
    -------
    float32 array, shape (records, values)
    """
    for axis in range(max(1, values.ndim - 2), values.ndim):
        length = values.shape[axis]
        if length > side:
            edges = np.linspace(0, length, side + 1).astype(np.int64)[:-1]
            counts = np.diff(np.append(edges, length)).astype(np.float32)
            shape = [1] * values.ndim
            shape[axis] = side
            total = np.add.reduceat(values, edges, axis=axis)
            values = (total / counts.reshape(shape)).astype(np.float32)
    return values.reshape(len(values), -1)

"""Where records lie among each other: their inputs as numbers in which distances mean something.

Membership is not looked at, and nothing here depends on the order of records or patients beyond the
rounding of sums.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from auscult.base.parallel import let_go, scratch
from auscult.cohort.inputs import ArrayInputs, Inputs, NamedInputs, TableInputs, pooled

SIDE = 16  # pixels or samples per axis
AT_ONCE = 4096
MOST_COLUMNS = 1024  # beyond, distances are kept by a random projection
FARTHEST = 10.0  # standard deviations: a stray value is far from all others, not from the planet
PROJECTION = 20261126  # seed of the random projection; part of the method
ROUNDED = 64.0  # steps per unit in which a record is named by its content


class Places:
    """Records as points, in the cohort's order.

    Parameters
    ----------
    points : float32 array, shape (records, columns)
        Finite; in units that make columns comparable.
    patient : int64 array, shape (records,)
        Patient of each record.
    """

    def __init__(self, points: NDArray[np.float32], patient: NDArray[np.int64]) -> None:
        self.points = points
        self.patient = patient
        self._kept: tuple[Any, Any] | None = None  # last value of `once`

    @classmethod
    def of(cls, inputs: Inputs, patient: NDArray[np.int64]) -> Self:
        """Places of a cohort's records.

        Columns of a table: numbers in standard deviations, an indicator of what is missing, a
        column of 0 and 1 for each level. Images and signals: means over blocks. Several inputs
        count the same.

        Parameters
        ----------
        inputs : Inputs
        patient : int64 array, shape (records,)
        """
        return cls(_points(inputs), patient)

    @classmethod
    def of_features(cls, features: NDArray[np.floating], patient: NDArray[np.int64]) -> Self:
        """Places of records whose features were made elsewhere.

        Parameters
        ----------
        features : float array, shape (records, columns)
            Finite; scaled to standard deviations here.
        patient : int64 array, shape (records,)
        """
        flat = np.asarray(features, dtype=np.float32).reshape(len(features), -1)
        table = TableInputs(
            numeric=flat,
            numeric_names=tuple(f"feature {j}" for j in range(flat.shape[1])),
            codes=np.empty((len(flat), 0), dtype=np.int32),
            categorical_names=(),
            levels=(),
        )
        return cls(_points(table), patient)

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"Places({len(self)} records, {self.points.shape[1]} columns)"

    @cached_property
    def key(self) -> NDArray[np.uint64]:
        """Name of each record by its content: it orders records whatever order they came in."""
        return _keys(self.points)

    @cached_property
    def lengths(self) -> NDArray[np.float32]:
        """Squared length of each point, shape (records,)."""
        found = np.empty(len(self), dtype=np.float32)
        for start in range(0, len(self), AT_ONCE):
            piece = self.points[start : start + AT_ONCE]
            found[start : start + AT_ONCE] = (piece**2).sum(axis=1)
        let_go(self.points)
        return found

    def take(self, records: NDArray[np.int64] | NDArray[np.bool_]) -> Places:
        """Some of the records, in the order asked for."""
        return Places(self.points[records], self.patient[records])

    def once(self, name: tuple[NDArray[np.int64], ...], make: Any) -> Any:  # noqa: ANN401
        """What `make` returns, made anew only where the arrays of `name` differ from the last."""
        if self._kept is not None:
            last, value = self._kept
            if len(last) == len(name) and all(map(np.array_equal, last, name)):
                return value
        value = make()
        self._kept = (name, value)
        return value


def _points(inputs: Inputs) -> NDArray[np.float32]:
    """Points of all records; a pass over them that tells scales, and one that writes."""
    parts = list(inputs.parts.values()) if isinstance(inputs, NamedInputs) else [inputs]
    encoders = [_Table(p) if isinstance(p, TableInputs) else _Array(p) for p in parts]
    if len(encoders) > 1:
        for encoder in encoders:
            encoder.scale /= np.sqrt(max(encoder.variance(), 1e-12))
    columns = sum(encoder.columns for encoder in encoders)
    turned = None
    if columns > MOST_COLUMNS:
        rng = np.random.default_rng(PROJECTION)
        turned = rng.standard_normal((columns, MOST_COLUMNS), dtype=np.float32)
        turned /= np.float32(np.sqrt(MOST_COLUMNS))
    found: NDArray[np.float32] = scratch((len(inputs), min(columns, MOST_COLUMNS)), np.float32)
    for start in range(0, len(inputs), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(inputs)))
        piece = np.concatenate([encoder(rows) for encoder in encoders], axis=1)
        found[rows[0] : rows[-1] + 1] = piece if turned is None else piece @ turned
        let_go(found)
    return found


class _Table:
    """Columns of a table; see :meth:`Places.of`."""

    def __init__(self, inputs: TableInputs) -> None:
        self._inputs = inputs
        columns = inputs.numeric.shape[1]
        self._mean, self._spread = np.zeros(columns), np.ones(columns)
        missing = np.zeros(columns, dtype=bool)
        for j in range(columns):
            column = inputs.numeric[:, j]
            told = column[np.isfinite(column)].astype(np.float64)
            missing[j] = told.size < column.size
            if told.size and told.std() > 0:
                self._mean[j], self._spread[j] = told.mean(), told.std()
            elif told.size:
                self._mean[j] = told[0]
        self._missing = np.flatnonzero(missing)
        self.columns = int(
            inputs.numeric.shape[1] + self._missing.size + sum(map(len, inputs.levels))
        )
        self.scale = 1.0

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        values, codes = self._inputs.numeric[rows], self._inputs.codes[rows]
        scaled = np.clip((values - self._mean) / self._spread, -FARTHEST, FARTHEST)
        parts = [np.where(np.isfinite(values), scaled, 0.0), ~np.isfinite(values[:, self._missing])]
        parts += [codes[:, [j]] == np.arange(len(v)) for j, v in enumerate(self._inputs.levels)]
        return np.asarray(np.concatenate(parts, axis=1) * self.scale, dtype=np.float32)

    def variance(self) -> float:
        """Sum over columns of the variance of a sample of records."""
        return _variance(self, len(self._inputs))


class _Array:
    """Images or signals, pooled; one scale for each channel would tell colours from noise."""

    def __init__(self, inputs: ArrayInputs) -> None:
        self._inputs = inputs
        self._mean = np.zeros(1)
        self.scale = 1.0
        sample = self._pooled(_sample(len(inputs)))
        self.columns = int(sample.shape[1])
        self._mean = sample.mean(axis=0)
        self.scale = 1.0 / max(float(np.sqrt(sample.var(axis=0).mean())), 1e-12)

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray((self._pooled(rows) - self._mean) * self.scale, dtype=np.float32)

    def variance(self) -> float:
        """Sum over columns of the variance of a sample of records."""
        return _variance(self, len(self._inputs))

    def _pooled(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        pieces = []
        for start in range(0, len(rows), AT_ONCE // 8):
            piece = self._inputs.take(rows[start : start + AT_ONCE // 8]).astype(np.float32)
            piece = np.nan_to_num(piece, nan=0.0, posinf=0.0, neginf=0.0)
            if self._inputs.channels == "last":
                piece = np.moveaxis(piece, -1, 1)
            pieces.append(pooled(piece, SIDE).astype(np.float64))
        return np.concatenate(pieces)


def _sample(records: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, records - 1, min(records, AT_ONCE)).astype(np.int64))


def _variance(encoder: _Table | _Array, records: int) -> float:
    return float(encoder(_sample(records)).astype(np.float64).var(axis=0).sum())


def _keys(points: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A name of each record by its rounded content (multiply-shift hashing, Dietzfelbinger 1996).

    Rounded, because means over records in another order may differ in their last digit.
    """
    odd = np.random.default_rng(PROJECTION).integers(
        0, 1 << 63, size=points.shape[1], dtype=np.uint64
    )
    odd = odd * np.uint64(2) + np.uint64(1)
    keys = np.empty(len(points), dtype=np.uint64)
    for start in range(0, len(points), AT_ONCE):
        whole = np.rint(points[start : start + AT_ONCE] * np.float32(ROUNDED)).astype(np.int64)
        total = (whole.astype(np.uint64) * odd).sum(axis=1, dtype=np.uint64)
        total ^= total >> np.uint64(31)
        keys[start : start + AT_ONCE] = total * np.uint64(0x9E3779B97F4A7C15)
    let_go(points)
    return keys

"""Which records of a model's members it trains on, where a protection leaves some of them out.

A record that is left out still belongs to its patient: it is scored, and the attacker holds it.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError
from auscult.base.randomness import Stage, generator
from auscult.cohort import Cohort
from auscult.cohort.design import Membership
from auscult.cohort.inputs import ArrayInputs, NamedInputs, TableInputs

MOST_FEATURES = 256
MOST_COMPARED = 60_000
MOST_PAIRS = 20_000_000
ROWS_AT_ONCE = 512


class Twins:
    """Records that count as duplicates.

    Parameters
    ----------
    group : int64 array, shape (records,), optional
        Records of the same group are all identical.
    earlier : list of int64 array, optional
        For each record, the earlier records that it nearly duplicates.
    """

    def __init__(
        self,
        *,
        group: NDArray[np.int64] | None = None,
        earlier: list[NDArray[np.int64]] | None = None,
    ) -> None:
        self._group = group
        self._earlier = earlier or []
        self._some = np.array([found.size > 0 for found in self._earlier], dtype=bool)

    def thinned(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ascending rows without those that duplicate a row kept before them."""
        if self._group is not None:
            _, first = np.unique(self._group[rows], return_index=True)
            return rows[np.sort(first)]
        if not self._some[rows].any():
            return rows
        kept = np.zeros(self._some.size, dtype=bool)
        kept[rows] = True
        for row in rows[self._some[rows]].tolist():
            kept[row] = not kept[self._earlier[row]].any()
        return rows[kept[rows]]


class Selection(Membership):
    """A membership some of whose records are not trained on.

    Parameters
    ----------
    membership : Membership
    allowed : bool array, shape (records,)
    twins : Twins, optional
    """

    def __init__(
        self, membership: Membership, allowed: NDArray[np.bool_], twins: Twins | None = None
    ) -> None:
        super().__init__(membership.reveal())
        self._allowed = allowed
        self._twins = twins

    def members(self, model: int, patient_of_record: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the records that model number `model` trains on, ascending."""
        return self.records(model, patient_of_record, None)

    def records(
        self,
        model: int,
        patient_of_record: NDArray[np.int64],
        withheld: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """As :meth:`members`, without withheld records: those are nobody's earlier duplicate.

        Parameters
        ----------
        model : int
        patient_of_record : int64 array, shape (records,)
        withheld : bool array, shape (records,), or None
            Records that no model trains on.
        """
        rows = super().members(model, patient_of_record)
        rows = rows[self._allowed[rows]]
        if withheld is not None:
            rows = rows[~withheld[rows]]
        return rows if self._twins is None else self._twins.thinned(rows)


def within_cap(
    patient_of_record: NDArray[np.int64],
    most: int,
    seed: int,
    withheld: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """At most so many records of each patient, drawn at random once for all models.

    Withheld records are never among them: a patient whose one record was drawn from these would
    train no model, and look protected.

    Parameters
    ----------
    patient_of_record : int64 array, shape (records,)
    most : int
    seed : int
    withheld : bool array, shape (records,), optional

    Returns
    -------
    bool array, shape (records,)
    """
    draws = generator(seed, Stage.RECORD_CAP).random(patient_of_record.size)
    if withheld is not None:
        draws[withheld] = np.inf
    order = np.lexsort((draws, patient_of_record))
    ranked = patient_of_record[order]
    first = np.searchsorted(ranked, ranked, side="left")
    allowed = np.empty(patient_of_record.size, dtype=bool)
    allowed[order] = np.arange(ranked.size) - first < most
    return allowed if withheld is None else allowed & ~withheld


def find_twins(cohort: Cohort, tolerance: float) -> Twins:
    """Records with the same inputs, or with nearly the same.

    Parameters
    ----------
    cohort : Cohort
    tolerance : float
        0 for identical inputs; otherwise the largest root mean square difference of two records'
        features, each in units of its standard deviation over the cohort. Features are numeric
        columns and levels of categories, or the pixels, averaged over neighbours where there are
        more than 256.

    Raises
    ------
    ConfigError
        More records than can be compared with one another.
    """
    if tolerance == 0:
        return _identical(cohort)
    refuse_too_many_to_compare(cohort, tolerance, "protect.cohort")
    x = _features(cohort)
    size = (x**2).sum(axis=1)
    bar = np.float32(tolerance**2 * x.shape[1])
    earlier: list[NDArray[np.int64]] = []
    pairs = 0
    for start in range(0, len(x), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(x))
        distance = size[start:stop, None] + size[None, :stop] - 2 * x[start:stop] @ x[:stop].T
        near = np.tril(distance <= bar, start - 1)
        pairs += int(near.sum())
        if pairs > MOST_PAIRS:
            raise ConfigError(
                f"more than {MOST_PAIRS:,} pairs of records are within a tolerance of "
                f"{tolerance:g}",
                where="protect.cohort.deduplicate",
                expected="a smaller tolerance",
            )
        earlier += [np.flatnonzero(row) for row in near]
    return Twins(earlier=earlier)


def refuse_too_many_to_compare(cohort: Cohort, tolerance: float | None, where: str) -> None:
    """Raise a ConfigError when near duplicates would take too long to find.

    Parameters
    ----------
    cohort : Cohort
    tolerance : float or None
        Distance up to which records are duplicates; None for equal ones.
    where : str
        The key of the configuration, for the message.
    """
    if tolerance and cohort.records > MOST_COMPARED:
        raise ConfigError(
            f"near duplicates require a comparison of every pair of {cohort.records:,} records",
            where=f"{where}.deduplicate",
            expected=f'at most {MOST_COMPARED:,} records, or "exact"',
        )


def _one(cohort: Cohort) -> TableInputs | ArrayInputs:
    if isinstance(cohort.inputs, NamedInputs):
        raise ConfigError(
            f"there are several inputs ({', '.join(cohort.inputs.parts)})",
            where="protect.cohort.deduplicate",
            expected="a cohort with a single input",
        )
    return cohort.inputs


def _identical(cohort: Cohort) -> Twins:
    inputs = _one(cohort)
    if isinstance(inputs, TableInputs):
        keys = [
            numbers.tobytes() + codes.tobytes()
            for numbers, codes in zip(inputs.numeric, inputs.codes, strict=True)
        ]
    else:
        keys = [
            hashlib.sha256(np.ascontiguousarray(one).data).digest()
            for start in range(0, len(inputs), ROWS_AT_ONCE)
            for one in inputs.take(np.arange(start, min(start + ROWS_AT_ONCE, len(inputs))))
        ]
    numbers_of: dict[bytes, int] = {}
    group = [numbers_of.setdefault(key, len(numbers_of)) for key in keys]
    return Twins(group=np.array(group, dtype=np.int64))


def _features(cohort: Cohort) -> NDArray[np.float32]:
    """Records as rows of scaled features, float32; missing numbers are the column's mean."""
    inputs = _one(cohort)
    if isinstance(inputs, ArrayInputs):
        x = _averaged(inputs)
    else:
        one_hot = [
            (inputs.codes[:, j, None] == np.arange(len(names))).astype(np.float32)
            for j, names in enumerate(inputs.levels)
        ]
        x = np.concatenate([inputs.numeric, *one_hot], axis=1)
    mean, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    varying = spread > 0
    scaled = (x[:, varying] - mean[varying]) / spread[varying]
    return np.asarray(np.nan_to_num(scaled), dtype=np.float32)


def _averaged(inputs: ArrayInputs) -> NDArray[np.float32]:
    """Images and signals, neighbouring values averaged until few enough are left."""
    pieces = []
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        x = inputs.take(np.arange(start, min(start + ROWS_AT_ONCE, len(inputs))))
        x = x.astype(np.float32)
        while x[0].size > MOST_FEATURES and max(x.shape[1:]) > 1:
            axis = 1 + int(np.argmax(x.shape[1:]))
            x = np.add.reduceat(x, np.arange(0, x.shape[axis], 2), axis=axis) / 2
        pieces.append(x.reshape(len(x), -1))
    return np.concatenate(pieces)

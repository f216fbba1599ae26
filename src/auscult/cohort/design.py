"""Which patients each model trains on, and the secret matrix that says so.

Models come in waves, and each patient is a member of exactly the same share of every wave, by
default half of them (METHOD 1): of one uniform draw per model of the wave, the lowest are IN. The
draws of a wave come from the audit's seed and the wave's number alone, so a run that grows by
further waves is the run that had them from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import AuscultError
from auscult.base.parallel import let_go, scratch
from auscult.base.randomness import Stage, generator

MINIMUM_MODELS = 8
MINIMUM_PATIENTS = 20
PATIENTS_AT_ONCE = 1 << 16
WAVE = 16  # models of which every patient is IN half, wave by wave


class Membership:
    """Who is IN which model: a secret, shown as its size only.

    Parameters
    ----------
    matrix : bool array, shape (models, patients)
        True where the patient's records trained the model.
    """

    def __init__(self, matrix: NDArray[np.bool_]) -> None:
        self._matrix = matrix

    @property
    def models(self) -> int:
        """Number of models."""
        return int(self._matrix.shape[0])

    @property
    def patients(self) -> int:
        """Number of patients."""
        return int(self._matrix.shape[1])

    def reveal(self) -> NDArray[np.bool_]:
        """The matrix, shape (models, patients). Write it under ``secret/`` only."""
        return self._matrix

    def members(self, model: int, patient_of_record: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the records that model number `model` trains on, ascending."""
        return np.flatnonzero(self._matrix[model][patient_of_record])

    def records(
        self,
        model: int,
        patient_of_record: NDArray[np.int64],
        withheld: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """As :meth:`members`, without the records that no model trains on.

        Parameters
        ----------
        model : int
        patient_of_record : int64 array, shape (records,)
        withheld : bool array, shape (records,), or None
            Records that no model trains on.
        """
        rows = self.members(model, patient_of_record)
        return rows if withheld is None else rows[~withheld[rows]]

    def __repr__(self) -> str:
        return f"Membership({self.models} models, {self.patients} patients, values secret)"


@dataclass(frozen=True, kw_only=True)
class Design:
    """How many models, over how many patients, from which seed.

    Attributes
    ----------
    models : int
        Even, at least 8. Where they are no whole number of waves, the last wave is a short one.
    patients : int
        At least 20.
    seed : int
        The audit's seed.
    """

    models: int
    patients: int
    seed: int

    def check(self) -> None:
        """Raise AuscultError when the numbers cannot carry an audit."""
        if self.models < MINIMUM_MODELS or self.models % 2:
            raise AuscultError(
                f"{self.models} models cannot be used",
                where="audit.models",
                expected=f"an even number, at least {MINIMUM_MODELS} (64 is a good start)",
            )
        if self.patients < MINIMUM_PATIENTS:
            raise AuscultError(
                f"the cohort has {self.patients} patients",
                where="cohort",
                expected=f"at least {MINIMUM_PATIENTS}",
                next_step="With fewer patients, results cannot be told from chance; use more data",
            )

    def membership(self) -> Membership:
        """Draw the matrix: each patient IN exactly half of every wave (METHOD 1)."""
        self.check()
        matrix = scratch((self.models, self.patients), np.bool_)
        for wave, first in enumerate(range(0, self.models, WAVE)):
            size = min(WAVE, self.models - first)
            rng = generator(self.seed, Stage.MEMBERSHIP, *([wave] if wave else []))
            for start in range(0, self.patients, PATIENTS_AT_ONCE):
                here = slice(start, min(start + PATIENTS_AT_ONCE, self.patients))
                draws = rng.random((here.stop - start, size))
                ranks = draws.argsort(axis=1).argsort(axis=1)
                matrix[first : first + size, here] = (ranks < size // 2).T
                let_go(matrix)
        return Membership(matrix)


def withheld_records(
    share: float, patient_of_record: NDArray[np.int64], patients: int, seed: int
) -> NDArray[np.bool_]:
    """Records that no model trains on: other records of the same patients, as attackers hold them.

    Of each patient with several records, `share` of them, at least one and never all, drawn from
    the audit's seed. A secret, as the patients' rows are.

    Parameters
    ----------
    share : float
        Between 0 and 1.
    patient_of_record : int64 array, shape (records,)
    patients : int
    seed : int

    Returns
    -------
    bool array, shape (records,)
    """
    draws = generator(seed, Stage.WITHHOLD).random(patient_of_record.size)
    count = np.bincount(patient_of_record, minlength=patients)
    kept_back = np.where(count > 1, np.clip(np.rint(share * count), 1, count - 1), 0)
    order = np.lexsort((draws, patient_of_record))
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank = np.empty(patient_of_record.size, dtype=np.int64)
    rank[order] = np.arange(patient_of_record.size) - first[patient_of_record[order]]
    return np.asarray(rank < kept_back[patient_of_record])

"""Signals whose truth is known, for checks of attacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import Layout, lay_out


def balanced(patients: int, models: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Each patient IN exactly half of the models, shape (models, patients).

    Parameters
    ----------
    patients, models : int
    rng : Generator
    """
    ranks = rng.random((patients, models)).argsort(axis=1).argsort(axis=1)
    return np.ascontiguousarray((ranks < models // 2).T)


class Signals:
    """Normal signals of patients with one to three records each; members' are higher by `shift`.

    Parameters
    ----------
    shift : float
        In standard deviations; 0 where nothing leaks.
    seed : int
    patients, models : int
    """

    def __init__(self, shift: float, seed: int, patients: int = 60, models: int = 24) -> None:
        rng = np.random.default_rng(seed)
        count = rng.integers(1, 4, patients)
        count[0] = 3  # in another order of records its first is another one
        self.patient = np.repeat(np.arange(patients), count)
        self.member = balanced(patients, models, rng)
        level = rng.normal(size=self.patient.size)
        noise = rng.normal(size=(models, self.patient.size))
        self.values = level + noise + shift * self.member[:, self.patient]

    def layout(self, order: NDArray[np.int64] | None = None) -> Layout:
        """The signals laid out, records in the order given."""
        rows = np.arange(self.patient.size) if order is None else order
        return lay_out(self.values[:, rows], self.member, self.patient[rows])

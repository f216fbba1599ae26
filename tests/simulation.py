"""Simulated signals whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from auscult.attacks.layout import Layout, lay_out


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulated:
    """Signals, membership and the AUC that was planted in each patient."""

    signals: NDArray[np.float64]  # (models, records)
    member: NDArray[np.bool_]  # (models, patients)
    patient: NDArray[np.int64]  # (records,)
    auc: NDArray[np.float64]  # (patients,)
    level: NDArray[np.float64]  # (records,)
    spread: NDArray[np.float64]  # (records,)

    def layout(self) -> Layout:
        return lay_out(self.signals, self.member, self.patient)


def balanced(patients: int, models: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Each patient IN exactly half of the models, shape (models, patients)."""
    ranks = rng.random((patients, models)).argsort(axis=1).argsort(axis=1)
    return np.ascontiguousarray((ranks < models // 2).T)


def simulate(
    auc: NDArray[np.float64],
    models: int,
    rng: np.random.Generator,
    *,
    records: NDArray[np.int64] | None = None,
    shared: float = 0.0,
) -> Simulated:
    """Plant an AUC in each patient: what the best attack on all of its records reaches.

    Records have their own level and spread; noise is normal, with a share `shared` of its variance
    common to all records of a model.
    """
    count = np.ones(auc.size, dtype=np.int64) if records is None else records
    patient = np.repeat(np.arange(auc.size), count)
    member = balanced(auc.size, models, rng)
    # k independent records with a shift of s deviations each reach AUC Phi(s sqrt(k / 2)).
    shift = (ndtri(auc) * np.sqrt(2 / count))[patient]
    noise = np.sqrt(1 - shared) * rng.normal(size=(models, patient.size))
    noise += np.sqrt(shared) * rng.normal(size=(models, 1))
    level, spread = rng.normal(size=patient.size), np.exp(rng.normal(0, 0.3, patient.size))
    signals = level + spread * (noise + member[:, patient] * shift)
    return Simulated(
        signals=signals, member=member, patient=patient, auc=auc, level=level, spread=spread
    )

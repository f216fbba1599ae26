"""Patients by the value of an attribute: exact, for their owner's eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from auscult.viewer.roll import Attribute, Roll


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """One group.

    Attributes
    ----------
    code : int
        Its level's.
    name : str
    patients : int
        With an estimate or without.
    mean, low, high : float or None
        Mean AUC with a 95% interval from Student's t over these patients.
    expected : float or None
        Sum of the probabilities that a patient's AUC lies above 0.9.
    above, confirmed : int
        Patients whose estimate lies above 0.9, and who are confirmed above it.
    """

    code: int
    name: str
    patients: int
    mean: float | None
    low: float | None
    high: float | None
    expected: float | None
    above: int
    confirmed: int


def group_rows(roll: Roll, attribute: Attribute) -> list[GroupRow]:
    """Every group of one attribute, largest first."""
    auc, codes = roll.numbers["auc"], attribute.codes
    known = np.isfinite(auc) & (codes >= 0)
    k = len(attribute.levels)
    every = np.bincount(codes[codes >= 0], minlength=k)

    def total(values: np.ndarray, among: np.ndarray) -> np.ndarray:
        return np.bincount(codes[among], weights=values[among], minlength=k)

    n = np.bincount(codes[known], minlength=k)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total(auc, known) / n
        spread = np.sqrt(total((auc - mean[np.maximum(codes, 0)]) ** 2, known) / (n - 1) / n)
        half = spread * stdtrit(np.maximum(n - 1, 1), 0.975)
    ones = np.ones(len(roll))
    above = total(ones, known & (auc > 0.9))
    nobody = np.zeros(len(roll), dtype=bool)
    confirmed = total(ones, known & (nobody if roll.confirmed is None else roll.confirmed))
    chance = roll.numbers.get("above_0.9")
    expected = None if chance is None else total(np.nan_to_num(chance), known)
    rows = []
    for code in np.argsort(-every, kind="stable").tolist():
        told = n[code] > 1 and np.isfinite(half[code])
        rows.append(
            GroupRow(
                code=code,
                name=attribute.levels[code],
                patients=int(every[code]),
                mean=float(mean[code]) if n[code] else None,
                low=max(0.0, float(mean[code] - half[code])) if told else None,
                high=min(1.0, float(mean[code] + half[code])) if told else None,
                expected=None if expected is None else float(expected[code]),
                above=int(above[code]),
                confirmed=int(confirmed[code]),
            )
        )
    return rows

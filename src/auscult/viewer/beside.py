"""Another run's patients beside this one's, joined by identifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from auscult.base.errors import StoreError
from auscult.viewer.holding import Holding


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """What another run says of the same patients.

    Attributes
    ----------
    name : str
        Of the other run.
    auc, low, high : float64 arrays, shape (patients,)
        In the order of this run; NaN for patients whom the other one does not have.
    common, only_here, only_there : int
        Patients.
    rows : tuple of (str, int, float, float)
        Patients above 0.9 in both, here only, there only, in neither: number and both mean AUCs.
    mean : tuple of (float, float)
        Mean AUC of the common patients, here and there.
    apart : int
        Common patients whose two intervals do not meet.
    """

    name: str
    auc: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    common: int
    only_here: int
    only_there: int
    rows: tuple[tuple[str, int, float, float], ...]
    mean: tuple[float, float]
    apart: int

    @classmethod
    def of(cls, holding: Holding, other: Holding) -> Beside:
        """Join two runs; this run's list can then be sorted by "other" and "change".

        Raises
        ------
        StoreError
            They have no patient in common.
        """
        mine, theirs = holding.roll, other.roll
        found = pc.index_in(mine.identifiers, value_set=theirs.identifiers)
        place = found.fill_null(-1).to_numpy(zero_copy_only=False)
        there = place >= 0
        common = int(there.sum())
        if not common:
            raise StoreError(
                "the two runs have no patient in common",
                where="--against",
                expected="another run about the same patients",
            )
        columns = {
            name: np.where(there, theirs.numbers[name][place], np.nan)
            for name in ("auc", "auc_low", "auc_high")
        }
        auc = columns["auc"]
        here = mine.numbers["auc"]
        both = np.isfinite(here) & np.isfinite(auc)
        mine.numbers |= {"other": auc, "change": auc - here}
        kinds = (
            ("both", (here > 0.9) & (auc > 0.9)),
            (f"{holding.name} only", (here > 0.9) & (auc <= 0.9)),
            (f"{other.name} only", (here <= 0.9) & (auc > 0.9)),
            ("neither", (here <= 0.9) & (auc <= 0.9)),
        )
        rows = []
        for name, kind in kinds:
            chosen = kind & both
            n = int(chosen.sum())
            means = (float(here[chosen].mean()), float(auc[chosen].mean())) if n else (0.0, 0.0)
            rows.append((name, n, *means))
        apart = (columns["auc_low"] > mine.numbers["auc_high"]) | (
            columns["auc_high"] < mine.numbers["auc_low"]
        )
        return cls(
            name=other.name,
            auc=auc,
            low=columns["auc_low"],
            high=columns["auc_high"],
            common=common,
            only_here=len(mine) - common,
            only_there=len(theirs) - common,
            rows=tuple(rows),
            mean=(float(here[both].mean()), float(auc[both].mean())) if both.any() else (0.5, 0.5),
            apart=int((apart & both).sum()),
        )

"""Who is among the most exposed patients, by group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtrc

from auscult.cohort.cohort import SMALLEST_CELL
from auscult.disclosure import BASE, rounded_count
from auscult.risk.equal_counts import strata
from auscult.risk.pooling import pool_small_cells
from auscult.risk.published import coarse_p

TOP_SHARE = 0.01


def top_composition(
    groups: pd.DataFrame,
    halves: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    smallest_cell: int = SMALLEST_CELL,
    count: NDArray[np.int64] | None = None,
) -> dict[str, dict[str, Any]]:
    """Who is among the most exposed 1%, chosen on one half of the models and counted on the other.

    At least three smallest cells of patients make the top. Residuals come from numbers rounded to
    5, as near to what is expected as the rounding allows, and are rounded to a half, so that no
    small cell of the top can be counted back.

    Patients are ranked by their risk on one half; a patient counts where both halves, each blind to
    the other, place it in the top share, so that luck on one half does not make anybody exposed.

    Parameters
    ----------
    groups : DataFrame, shape (patients, attributes)
    halves : pair of float64 arrays, shape (patients,)
        Raw AUC on either half of the models; NaN where not estimable.
    smallest_cell : int
    count : int64 array, shape (patients,), optional
        Records; without them nothing is said of equal record counts.

    Returns
    -------
    dict
        Per attribute: Pearson residuals of the groups shown, chi-squared and its p, as the study
        has them. ``chi_squared`` is None where an expected count is under 1. More records place a
        patient in the top more often: "residual_same_records" is against what the group's patients
        of each record count would be there, each drawn from all of that count (Mantel-Haenszel);
        None where under 1 is expected.
    """
    usable = np.isfinite(halves[0]) & np.isfinite(halves[1])
    first, second = halves[0][usable], halves[1][usable]
    wanted = max(3 * smallest_cell, int(np.ceil(TOP_SHARE * usable.sum())))
    if 4 * wanted > usable.sum():
        return {}
    chosen = np.argsort(-first, kind="stable")[: 2 * wanted]
    top = np.zeros(first.size, dtype=bool)
    top[chosen[np.argsort(-second[chosen], kind="stable")[:wanted]]] = True
    stratum = None if count is None else strata(count[usable])[0]
    result = {}
    for name in groups.columns:
        labels = groups[name].astype(str).to_numpy()[usable]
        labels, shown, _ = pool_small_cells(labels, smallest_cell)
        rows, statistic = {}, 0.0
        sparse = len(shown) < 2
        base = min(BASE, smallest_cell)
        for group in shown:
            inside = labels == group
            expected = float(top.sum() * inside.mean())
            # Each number of patients in the top would have a residual of its own. So it is said
            # from the rounded one, as near to what is expected as the rounding allows.
            found = rounded_count(int(top[inside].sum()), base)
            residual = (_nearest(found, base, expected) - expected) / np.sqrt(expected)
            rows[group] = {
                "residual": round(2 * float(residual)) / 2,
                "residual_same_records": None
                if stratum is None
                else _residual_in_strata(inside, top, (found, base), stratum),
            }
            statistic += float(residual) ** 2
            sparse |= expected < 1
        freedom = max(len(shown) - 1, 1)
        result[str(name)] = {
            "top_share": float(top.mean()),
            "patients": int(top.sum()),
            "groups": rows,
            "chi_squared": None if sparse else round(float(statistic), 1),
            "p": None if sparse else coarse_p(float(chdtrc(freedom, statistic))),
            "reason": "too few expected patients in a group" if sparse else "",
        }
    return result


def _residual_in_strata(
    inside: NDArray[np.bool_],
    top: NDArray[np.bool_],
    found: tuple[int, int],
    stratum: NDArray[np.int64],
) -> float | None:
    """Excess of a group in the top over its share of each stratum, in standard deviations."""
    n = np.bincount(stratum).astype(np.float64)
    mine, above = (np.bincount(stratum, which) for which in (inside, top))
    expected = float((mine * above / n).sum())
    several = np.maximum(n - 1, 1)
    variance = float((mine * (n - mine) * above * (n - above) / (n**2 * several)).sum())
    if expected < 1 or variance < 1:
        return None
    residual = (_nearest(*found, expected) - expected) / np.sqrt(variance)
    return round(2 * float(residual)) / 2


def _nearest(rounded: int, base: int, expected: float) -> float:
    """The number nearest to what is expected that is rounded so."""
    return float(np.clip(expected, rounded - base // 2, rounded + base // 2))

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
FEWEST_EXPECTED = 5  # in the top; with fewer, chi-squared does not hold either


def top_composition(
    groups: pd.DataFrame,
    halves: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    smallest_cell: int = SMALLEST_CELL,
    count: NDArray[np.int64] | None = None,
) -> dict[str, dict[str, Any]]:
    """Who is among the most exposed 1%, chosen on one half of the models and counted on the other.

    At least three smallest cells of patients make the top. Residuals come from numbers rounded to 5
    and are rounded to a half. Where fewer than 5 are expected, they are given only for a whole
    smallest cell of patients in the top. So no small cell of it can be counted back.

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
            # With few expected, each number of patients in the top would have a residual of its
            # own; so all that is said of it comes from a rounded number. A group of which few are
            # expected is said to be among the most exposed only with a whole cell of patients.
            number = int(top[inside].sum())
            enough = expected >= FEWEST_EXPECTED
            found = rounded_count(number, base) if enough else number - number % smallest_cell
            told = enough or found > 0
            residual = (found - expected) / np.sqrt(expected)
            rows[group] = {
                "residual": round(2 * float(residual)) / 2 if told else None,
                "residual_same_records": None
                if stratum is None or not told
                else _residual_in_strata(inside, top, found, stratum),
            }
            statistic += residual**2
            sparse |= not told
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
    inside: NDArray[np.bool_], top: NDArray[np.bool_], found: int, stratum: NDArray[np.int64]
) -> float | None:
    """Excess of a group in the top over its share of each stratum, in standard deviations."""
    n = np.bincount(stratum).astype(np.float64)
    mine, above = (np.bincount(stratum, which) for which in (inside, top))
    expected = float((mine * above / n).sum())
    several = np.maximum(n - 1, 1)
    variance = float((mine * (n - mine) * above * (n - above) / (n**2 * several)).sum())
    if expected < 1 or variance < 1:
        return None
    residual = (found - expected) / np.sqrt(variance)
    return round(2 * float(residual)) / 2

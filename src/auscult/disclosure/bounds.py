"""How closely one patient's figure can be bounded from published totals.

A published mean over n patients is a total with a known rounding error. An attacker may add and
subtract totals of all tables in any proportion. With weights w on the totals, patient i enters the
combination with weight c_i; where c_j = 1, the combination gives patient j's figure up to what the
others carry and up to rounding. Figures lie between 0 and 1, so the combination leaves

    sum over patients of |c_i|, plus sum over totals of |w_g| times the total's rounding error

(in patients; patient j counts as one). The least of it over all w is a linear programme per
patient. Where it is at least the smallest cell, no combination says more about a patient than the
mean of a group of that size would. Nested and crossed tables need no rules of their own: they are
rows of one matrix (after the auditing of linked tables, Hundepool et al., *Statistical Disclosure
Control*, 2012, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from auscult.base.errors import AuscultError

TOLERANCE = 1e-6
SLACK = 1e-9


def rounding_step(patients: int) -> float:
    """Step to which a mean over so many patients is rounded: 1, 2 or 5 times a power of ten.

    The least such step that is at least 0.1 / sqrt(patients): about half of the half-width of a
    mean's 95% interval where the patients' figures have a standard deviation of 0.1.
    """
    wanted = 0.1 / np.sqrt(max(patients, 1))
    steps = (m * 10.0**p for p, m in product(range(-9, 1), (1, 2, 5)))
    return next(step for step in steps if step >= wanted * (1 - 1e-12))


def supported(value: float | None, patients: int) -> float | None:
    """A figure of so many patients, rounded to the step that it supports."""
    if value is None or not np.isfinite(value):
        return value
    step = rounding_step(patients)
    return float(f"{round(value / step) * step:.9g}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """Totals over groups of patients, with patients who are in the same groups taken together.

    Attributes
    ----------
    cells : bool sparse array, shape (atoms, totals)
        Which atoms each total is over.
    sizes : int64 array, shape (atoms,)
        Patients of each atom.
    atom : int64 array, shape (patients,)
        Atom of each patient.
    error : float64 array, shape (totals,)
        Largest rounding error of each total, in units of one patient's whole range.
    """

    cells: sparse.csr_array
    sizes: NDArray[np.int64]
    atom: NDArray[np.int64]
    error: NDArray[np.float64]

    @classmethod
    def of(cls, codes: Sequence[NDArray[np.int64]], rounded: Sequence[bool]) -> Published:
        """Describe tables by the group of each patient in each of them.

        Parameters
        ----------
        codes : sequence of int64 arrays, shape (patients,)
            Groups of one table, numbered from 0 without gaps. The table of one group is the total.
        rounded : sequence of bool
            Whether a table's means are rounded to :func:`rounding_step`; else they are exact.
        """
        stacked = np.stack(codes, axis=1)
        kinds, atom, sizes = np.unique(stacked, axis=0, return_inverse=True, return_counts=True)
        widths = kinds.max(axis=0) + 1
        offset = np.concatenate([[0], np.cumsum(widths)])
        columns = (kinds + offset[:-1]).ravel()
        rows = np.repeat(np.arange(len(kinds)), kinds.shape[1])
        cells = sparse.csr_array(
            (np.ones(columns.size), (rows, columns)), shape=(len(kinds), int(offset[-1]))
        )
        people = cells.T @ sizes
        error = np.array([n * rounding_step(int(n)) / 2 for n in people])
        exact = np.repeat(~np.asarray(rounded, dtype=bool), widths)
        error[exact] = 0.0
        return cls(cells=cells, sizes=sizes, atom=atom.reshape(-1), error=error)

    def leverage(self) -> NDArray[np.float64]:
        """Leverage of a patient of each atom in the regression on all totals, shape (atoms,).

        The least uncertainty about a patient is at least one over it, by Cauchy and Schwarz, for
        the patient whom the totals bound most closely.
        """
        gram = (self.cells.T @ (self.cells * self.sizes[:, None])).toarray()
        inverse = np.linalg.pinv(gram, hermitian=True)
        return np.asarray(((self.cells @ inverse) * self.cells.toarray()).sum(axis=1))


def least_uncertainty(published: Published, atom: int) -> tuple[float, NDArray[np.float64]]:
    """The least uncertainty about a patient of an atom, and the combination that reaches it.

    Parameters
    ----------
    published : Published
    atom : int

    Returns
    -------
    uncertainty : float
        In patients; infinite where no combination contains the patient.
    weights : float64 array, shape (totals,)

    Raises
    ------
    AuscultError
        The linear programme was not solved.
    """
    # The dual programme is the smaller one: how far the patient's figure can move while those of
    # the others move within their range and every total within its rounding.
    across = sparse.csr_array(published.cells.T)
    width = published.sizes.astype(np.float64)
    bounds: Any = np.stack([-width, width], axis=1)
    bounds[atom] = (-np.inf, np.inf)
    cost = np.zeros(width.size)
    cost[atom] = -1.0
    # A trace of a price on every total keeps out those that the combination does not need.
    error = published.error + SLACK
    # scipy's annotations know no sparse matrices here; HiGHS takes them.
    both: Any = sparse.vstack([across, -across], format="csr")
    found = linprog(
        cost,
        A_ub=both,
        b_ub=np.concatenate([error, error]),
        bounds=bounds,
        method="highs",
    )
    if found.status == 3:
        return np.inf, np.zeros(error.size)
    if found.status != 0:
        raise AuscultError(
            "the check of the published tables was not solved",
            where="disclosure control",
            next_step="Declare fewer groups or intersections and run again",
        )
    upper, lower = np.split(-found.ineqlin.marginals, 2)
    return float(width[atom] - found.fun), np.asarray(upper - lower)

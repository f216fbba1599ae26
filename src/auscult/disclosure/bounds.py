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

The programme is solved for few patients only. Two bounds, both proved, settle the others:

- Of the patient whom the totals bound most closely, the uncertainty is at least one over the
  leverage in the regression on all totals (Cauchy and Schwarz). Where no patient with a leverage
  above 1 / cell is bounded too closely, nobody is.
- Any movement of figures that keeps every total within its rounding, and moves no other patient by
  more than the whole range, is a solution of the dual programme: the patient's own movement, plus
  one, is a lower bound. The residual of a (ridge) regression on the totals is such a movement.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from auscult.base.errors import AuscultError

TOLERANCE = 1e-6
EXACT = 1e-6
"""Error of a total that is published as it is, in patients."""

_STEPS = tuple(m * 10.0**p for p, m in product(range(-9, 1), (1, 2, 5)))
_ROUNDS, _LEAST = 8, 0.01
_COLUMNS = 192
_CHUNK = 2_000_000
_PRECISE, _REFINED = 1e-3, 2


def rounding_step(patients: int) -> float:
    """Step to which a mean over so many patients is rounded: 1, 2 or 5 times a power of ten.

    The least such step that is at least 0.1 / sqrt(patients): about half of the half-width of a
    mean's 95% interval where the patients' figures have a standard deviation of 0.1.
    """
    return step_of_at_least(0.1 / np.sqrt(max(patients, 1)))


def patients_of_step(step: float) -> tuple[int, int]:
    """The least and the largest number of patients whose means are rounded to a step.

    Parameters
    ----------
    step : float
        One of 1, 2 and 5 times a power of ten.
    """
    finer = max((one for one in _STEPS if one < step * (1 - 1e-12)), default=0.0)
    least = int(np.ceil((0.1 / step) ** 2 * (1 - 1e-9)))
    most = np.iinfo(np.int64).max if not finer else np.ceil((0.1 / finer) ** 2 * (1 - 1e-9)) - 1
    return max(least, 0), int(most)


def step_of_at_least(wanted: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is at least as large; at most 5."""
    return next((step for step in _STEPS if step >= wanted * (1 - 1e-12)), _STEPS[-1])


def supported(value: float | None, patients: int, step: float | None = None) -> float | None:
    """A figure of so many patients, rounded to the step that it supports, or to a given one.

    Parameters
    ----------
    value : float or None
    patients : int
        Whose mean it is.
    step : float, optional
        A coarser step that is asked for.
    """
    if value is None or not np.isfinite(value):
        return value
    step = rounding_step(patients) if step is None else step
    return float(f"{round(value / step) * step:.9g}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """Totals over groups of patients; patients who are in the same groups are one atom.

    Attributes
    ----------
    cells : float64 array, shape (atoms, totals)
        1 where a total is over an atom, else 0.
    sizes : int64 array, shape (atoms,)
        Patients of each atom.
    error : float64 array, shape (totals,)
        Largest rounding error of each total, in units of one patient's whole range.
    """

    cells: NDArray[np.float64]
    sizes: NDArray[np.int64]
    error: NDArray[np.float64]

    def leverage(self) -> NDArray[np.float64]:
        """Leverage of a patient of each atom in the regression on all totals, shape (atoms,)."""
        inverse = np.linalg.pinv(self.gram, hermitian=True)
        return np.asarray(np.einsum("ij,ij->i", self.cells @ inverse, self.cells))

    def assured(self, atoms: NDArray[np.int64], wanted: float) -> NDArray[np.bool_]:
        """Of which atoms a patient surely keeps the wanted uncertainty, shape (len(atoms),).

        Parameters
        ----------
        atoms : int64 array
        wanted : float
            In patients.

        Returns
        -------
        bool array
            False says nothing.
        """
        sure = np.zeros(atoms.size, dtype=bool)
        if not atoms.size:
            return sure
        error = np.maximum(self.error, EXACT)
        kept = min(self.sizes.size, _COLUMNS)
        width = max(1, _CHUNK // (kept * error.size + self.sizes.size))
        for start in range(0, atoms.size, width):
            part = atoms[start : start + width]
            sure[start : start + width] = self._moved(part, error, kept, wanted)
        return sure

    def _moved(
        self,
        atoms: NDArray[np.int64],
        error: NDArray[np.float64],
        kept: int,
        wanted: float,
    ) -> NDArray[np.bool_]:
        """Whether a movement of the wanted length was found, by reweighted least squares.

        Minimising sums of absolute values by least squares with weights 1 / |value| (Holland &
        Welsch 1977): each round's residuals are a movement that keeps the totals, scaled to limits.
        """
        found = np.zeros(atoms.size, dtype=bool)
        weights = self.cells[atoms] @ self._ridge
        carried = np.abs(weights @ self.cells.T)
        carried[np.arange(atoms.size), atoms] = 0.0
        rank = carried * self.sizes
        near = np.argpartition(-rank, kept - 1, axis=1)[:, :kept]
        number = self.sizes[near] * (near != atoms[:, None])
        own = self.cells[atoms]
        left = np.arange(atoms.size)
        for _ in range(_ROUNDS):
            if not left.size:
                break
            scale = np.maximum(np.einsum("ct,ct->c", own[left], weights[left]), 1e-12)
            w = np.abs(weights[left] / scale[:, None])
            cells = self.cells[near[left]]
            c = np.abs(np.einsum("cit,ct->ci", cells, weights[left]) / scale[:, None])
            price = number[left] / np.maximum(c, _LEAST)
            slack = error / np.maximum(w, _LEAST)
            solved = _normal(cells, price, slack, own[left])
            weights[left] = solved
            # How far each goes where the patient moves by one, in units of how far each may.
            further = np.abs(np.einsum("cit,ct->ci", cells, solved)) / np.maximum(c, _LEAST)
            slackened = np.abs(solved) / np.maximum(w, _LEAST)
            limit = np.maximum(
                np.where(number[left] > 0, further, 0.0).max(axis=1), slackened.max(axis=1)
            )
            done = self.sizes[atoms[left]] + 1 / np.maximum(limit, 1e-12) >= wanted
            found[left[done]] = True
            left = left[~done]
        return found

    @cached_property
    def gram(self) -> NDArray[np.float64]:
        """Inner products of the totals over patients, shape (totals, totals)."""
        # Of each table an atom is in one row: nearly all entries are 0.
        cells = sparse.csr_array(self.cells)
        return np.asarray((cells.T @ (cells * self.sizes[:, None])).toarray())

    @cached_property
    def penalised(self) -> NDArray[np.float64]:
        """The same, of a ridge regression whose penalty is the totals' errors."""
        error = np.maximum(self.error, EXACT)
        return self.gram + np.diag(0.1 * error**2 + EXACT)

    @cached_property
    def _ridge(self) -> NDArray[np.float64]:
        return np.linalg.inv(self.penalised).astype(np.float64)


def _normal(
    cells: NDArray[np.float64],
    price: NDArray[np.float64],
    slack: NDArray[np.float64],
    own: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Solve (cells' diag(price) cells + diag(slack)) x = own, one system per leading index.

    Where there are more totals than atoms, by the Woodbury identity in as many unknowns as atoms.
    """
    many, atoms, totals = cells.shape
    if totals > atoms:
        scaled = cells * np.sqrt(price)[:, :, None]
        over = scaled / slack[:, None, :]
        inner = over @ np.swapaxes(scaled, 1, 2)
        inner[:, np.arange(atoms), np.arange(atoms)] += 1.0
        left, solved = own, np.zeros((many, totals))
        # What cancels is lost, and would be taken for a movement that the totals allow: refined.
        for _ in range(_REFINED):
            y = np.linalg.solve(inner, over @ left[:, :, None])
            solved += (left - (np.swapaxes(scaled, 1, 2) @ y)[:, :, 0]) / slack
            moved = np.einsum("cit,ct->ci", cells, solved) * price
            left = own - np.einsum("cit,ci->ct", cells, moved) - slack * solved
        exact = np.abs(left).max(axis=1) <= _PRECISE * EXACT
        if exact.all():
            return np.asarray(solved)
    else:
        solved, exact = np.empty((many, totals)), np.zeros(many, dtype=bool)
    place, rest = np.arange(totals), ~exact
    gram = np.swapaxes(cells[rest], 1, 2) @ (cells[rest] * price[rest][:, :, None])
    gram[:, place, place] += slack[rest]
    solved[rest] = np.linalg.solve(gram, own[rest][:, :, None])[:, :, 0]
    return np.asarray(solved)


def least_uncertainty(
    published: Published, atom: int, *, enough: float = np.inf
) -> tuple[float, NDArray[np.float64]]:
    """The least uncertainty about a patient of an atom, and the combination that reaches it.

    Parameters
    ----------
    published : Published
    atom : int
    enough : float
        An uncertainty at which looking further is of no use.

    Returns
    -------
    uncertainty : float
        In patients; infinite where no combination contains the patient. From `enough` on, a lower
        bound; below it, that of the weights, which is at most `enough`.
    weights : float64 array, shape (totals,)

    Raises
    ------
    AuscultError
        The linear programme was not solved.
    """
    # The dual programme is the smaller one: how far the patient's figure can move while those of
    # the others move within their range and every total within its rounding. Letting few others
    # move gives a lower bound; its weights on everybody give an upper one.
    error = np.maximum(published.error, EXACT)
    sizes = published.sizes.astype(np.float64)
    own = published.cells[atom]
    carried = np.abs(published.cells @ np.linalg.solve(published.penalised, own)) * sizes
    chosen = np.zeros(sizes.size, dtype=bool)
    while True:
        chosen[np.argsort(-np.where(chosen, 0, carried), kind="stable")[:_COLUMNS]] = True
        chosen[atom] = True
        kept = np.flatnonzero(chosen)
        below, weights = _solved(
            published.cells[kept], sizes[kept], error, int(np.searchsorted(kept, atom)), enough
        )
        if below >= enough or kept.size == sizes.size:
            return below, weights
        carried = np.abs(published.cells @ weights) * sizes
        above = float(carried.sum() + np.abs(weights) @ error)
        if above < enough or above <= below * (1 + TOLERANCE):
            return above, weights
        carried[atom] = 0.0


def _solved(
    cells: NDArray[np.float64],
    sizes: NDArray[np.float64],
    error: NDArray[np.float64],
    atom: int,
    enough: float,
) -> tuple[float, NDArray[np.float64]]:
    across = sparse.csr_array(cells.T)
    bounds: Any = np.stack([-sizes, sizes], axis=1)
    bounds[atom] = (-np.inf, max(1.01 * enough - sizes[atom], 1.0))
    cost = np.zeros(sizes.size)
    cost[atom] = -1.0
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
    return float(sizes[atom] - found.fun), np.asarray(upper - lower)

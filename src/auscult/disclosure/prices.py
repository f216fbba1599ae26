"""How far a cell's number of patients can go, in fractions of patients: a bound that is soon told.

The largest number is that of a linear programme. Its dual solution, a price per known number, is
one of every programme over the same atoms whatever the ranges of the numbers are: when a table is
rounded more coarsely, the old prices bound what the cell may gain by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

FAR = 1e9
"""More patients than there are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """One table's numbers as they are known: a group of atoms per row, and the row's range.

    Attributes
    ----------
    table : int
        Place of the table that they are from.
    row : int64 array, shape (atoms,)
        Which row each atom is in; the last one stands for none.
    now, low, high : float64 array, shape (rows,)
        Patients, and between which numbers they are known to lie.
    """

    table: int
    row: NDArray[np.int64]
    now: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def agrees(self, moved: NDArray[np.int32]) -> bool:
        """Whether the numbers are as they are known after so many patients joined each atom."""
        made = self.now + np.bincount(self.row, moved, minlength=self.now.size)
        return bool(((made >= self.low) & (made <= self.high))[:-1].all())


@dataclass(frozen=True, kw_only=True, eq=False)
class Prices:
    """What every known number adds to how far a cell can go, per patient of its range.

    Attributes
    ----------
    atoms : float
        What it can go by the atoms' own limits, that nobody is fewer than nobody.
    rows : dict
        Prices of the rows, by table and place among what is known of the table.
    """

    atoms: float
    rows: dict[tuple[int, int], NDArray[np.float64]]

    def most(self, known: Sequence[Known]) -> float:
        """How far the cell can go, at most, with these ranges of the same numbers."""
        found, left = self.atoms, {key for key, price in self.rows.items() if price.any()}
        for key, one in _placed(known):
            price = self.rows.get(key)
            if price is None:
                continue
            low, high = (one.low - one.now)[:-1], (one.high - one.now)[:-1]
            if price.size != low.size:
                return np.inf
            found += float(np.maximum(price * low, price * high).sum())
            left.discard(key)
        return np.inf if left else found


def furthest(
    known: Sequence[Known],
    kept: NDArray[np.int64],
    sizes: NDArray[np.int64],
    own: NDArray[np.float64],
    wanted: int,
) -> tuple[float, Prices]:
    """How far a cell's number can go towards so many further ones, and what holds it there.

    Parameters
    ----------
    known : sequence of Known
    kept : int64 array
        Atoms that may change.
    sizes : int64 array, shape (len(kept),)
        Their patients.
    own : float64 array, shape (len(kept),)
        1 for those of the cell.
    wanted : int
        Below 0 where the cell is to lose patients.

    Returns
    -------
    most : float
        Never more than what is wanted, and as much where the programme is not solved.
    prices : Prices
    """
    matrix, below, above = rows_over(known, kept)
    rows, side = below.size + 1, float(np.sign(wanted))
    # Every row is a column of its own, within the row's range: ranges need no second row.
    least, most = sorted((0.0, float(wanted)))
    low = np.concatenate([-sizes, below, [least]])
    high = np.concatenate([np.full(kept.size, FAR), above, [most]])
    cell: Any = sparse.csr_array(own[None, :])
    limits: Any = sparse.vstack([matrix, cell], format="csr")
    across: Any = sparse.hstack([limits, -sparse.eye_array(rows)], format="csr")
    bounds: Any = np.stack([low, high], axis=1)
    cost = np.append(-side * own, np.zeros(rows))
    found = linprog(cost, A_eq=across, b_eq=np.zeros(rows), bounds=bounds, method="highs")
    if found.status != 0:
        return float(abs(wanted)), Prices(atoms=FAR, rows={})  # it says nothing
    price = -found.eqlin.marginals
    carried = side * own - limits.T @ price
    atoms = np.maximum(carried * FAR, -carried * sizes).sum() + max(price[-1] * wanted, 0.0)
    per_row, at = {}, 0
    for key, one in _placed(known):
        per_row[key] = price[at : at + one.now.size - 1]
        at += one.now.size - 1
    return -float(found.fun or 0.0), Prices(atoms=float(atoms), rows=per_row)


def rows_over(
    known: Sequence[Known], kept: NDArray[np.int64]
) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
    """Every known row over some atoms, and how far each may move down and up."""
    rows, columns, offset = [], [], 0
    below, above = [], []
    for one in known:
        row, none = one.row[kept], one.now.size - 1
        inside = np.flatnonzero(row < none)
        rows.append(offset + row[inside])
        columns.append(inside)
        offset += none
        below.append((one.low - one.now)[:-1])
        above.append((one.high - one.now)[:-1])
    place, column = np.concatenate(rows), np.concatenate(columns)
    matrix = sparse.csr_array((np.ones(place.size), (place, column)), shape=(offset, kept.size))
    return matrix, np.concatenate(below), np.concatenate(above)


def _placed(known: Sequence[Known]) -> Iterator[tuple[tuple[int, int], Known]]:
    """What is known, by table and place among what is known of the table."""
    number: dict[int, int] = {}
    for one in known:
        place = number.get(one.table, 0)
        number[one.table] = place + 1
        yield (one.table, place), one

"""Numbers of patients: round those of a table where a small cell would follow by subtraction.

What is small is a group under the smallest cell in one of the tables, and every combination of
groups that fewer patients have. Its number follows where it is a linear combination of numbers that
are published as they are. Who is in no combination at all is taken as known to the attacker (no
patient is in hospital H1 and region south), which makes the check the stricter one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auscult.disclosure.control import Atoms, Table

BASE = 5
_FOLLOWS = 1e-6


def round_counts(
    tables: Sequence[Table], smallest: int, *, base: int = BASE, total: bool = True
) -> None:
    """Set the base to which a table's numbers of patients are rounded.

    Parameters
    ----------
    tables : sequence of Table
        As :func:`auscult.disclosure.release_together` left them.
    smallest : int
        The smallest cell.
    base : int
        Numbers of a table that gives a small cell away are rounded to it. At most the smallest
        cell is used.
    total : bool
        Whether the number of everybody is known, too.
    """
    if not tables or tables[0].labels.size < smallest or smallest < 2:
        return
    atoms = Atoms.of(tables)
    base = max(2, min(base, smallest))
    free = [table for table in tables if not table.fixed]
    for table in free:
        # What a table hides without a pool would follow from its own total.
        if table.hidden and table.held() < smallest:
            table.base = max(table.base, base)
    while owners := _telling(tables, atoms, smallest, total):
        rounding = [table for table in owners if not table.fixed]
        if not rounding:
            return
        min(rounding, key=lambda table: (table.weight, len(table.names))).base = base


def rounded_count(number: int, base: int) -> int:
    """A number of patients, rounded to a base.

    Parameters
    ----------
    number : int
    base : int
        1 leaves it as it is.
    """
    return number if base <= 1 else base * ((2 * number + base) // (2 * base))


def _small_groups(tables: Sequence[Table], atoms: Atoms, smallest: int) -> NDArray[np.float64]:
    """Indicators over atoms of the groups under the smallest cell, shape (atoms, groups)."""
    found = [np.zeros((atoms.sizes.size, 0))]
    for table, code in zip(tables, atoms.codes, strict=True):
        few = [i for i, name in enumerate(table.names) if name in table.small(smallest)]
        found.append((code[:, None] == np.array(few, dtype=np.int64)).astype(np.float64))
    return np.concatenate(found, axis=1)


def _telling(tables: Sequence[Table], atoms: Atoms, smallest: int, total: bool) -> list[Table]:
    """The tables whose numbers together give a small cell; none where no cell follows."""
    exact = [one for one in atoms.columns(tables) if one[0].base <= 1]
    cells = np.ones((atoms.sizes.size, len(exact) + total))
    for place, (_, _, inside) in enumerate(exact):
        cells[:, place] = inside
    inverse = np.linalg.pinv(cells.T @ cells, hermitian=True)
    # A combination of groups follows exactly where its leverage is one.
    leverage = np.einsum("ij,ij->i", cells @ inverse, cells)
    alone = np.flatnonzero((atoms.sizes < smallest) & (leverage > 1 - _FOLLOWS))
    if alone.size:
        weights = inverse @ cells[alone[0]]
    else:
        groups = _small_groups(tables, atoms, smallest)
        all_weights = inverse @ (cells.T @ groups)
        off = np.abs(cells @ all_weights - groups).max(axis=0, initial=0.0)
        follows = np.flatnonzero(off < _FOLLOWS)
        if not follows.size:
            return []
        weights = all_weights[:, follows[0]]
    owners: list[Table] = []
    for (table, _, _), weight in zip(exact, np.abs(weights[: len(exact)]), strict=True):
        if weight > _FOLLOWS and all(table is not one for one in owners):
            owners.append(table)
    return owners

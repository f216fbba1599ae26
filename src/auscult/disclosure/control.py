"""Coarsen tables, as little as helps, until no combination of them bounds a patient too closely.

What may be done to a table, from the cheapest to the dearest:

1. A figure of one of its groups is rounded more coarsely: up to five times the step that its number
   of patients supports, or to 0.01.
2. The same, up to 0.05.
3. A group is pooled with those that are too small to be shown.
4. The figures of a group are withheld.

The price is the number of patients whose group says less, times how much of it is lost. A crossed
group costs half of what a group of an attribute costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.progress import SILENT, Progress
from auscult.disclosure.bounds import (
    TOLERANCE,
    Published,
    least_uncertainty,
    rounding_step,
    step_of_at_least,
)

MOST_TRIED = 6
ABSENT = "\0absent"
"""Label of patients whom a table is not about; other tables are."""
POOLED = ""
"""Key of the pool among a table's steps."""

STAGE = "Disclosure control"
FINE, COARSEST = 0.01, 0.05
TIMES = 5.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """A published group: its key among the table's steps, what it holds, its patients."""

    key: str
    names: tuple[str, ...]
    patients: int


@dataclass(kw_only=True, eq=False)
class Table:
    """A table of groups that is to be published.

    Attributes
    ----------
    labels : str array, shape (patients,)
        Group of each patient.
    hidden : set of str
        Groups that are pooled; release adds to it. A pool under the smallest cell is not shown.
    fixed : bool
        It is published as it is, or was: other tables have to give way.
    rounded : bool
        Its means are rounded to what their number of patients supports.
    weight : float
        What a patient without a group of their own costs in this table.
    poolable : bool
        Whether groups may be pooled; else their figures are rounded or withheld.
    steps : dict
        Rounding steps of groups (of the pool: :data:`POOLED`) that are coarser than what their
        number of patients supports; infinite where the figures are withheld.
    base : int
        What numbers of patients are rounded to; 1 where they are published as they are.
    counted : bool
        Its numbers of patients are published as they are, or known anyhow.
    told : bool
        How many groups are pooled is published.
    smallest : int
        The smallest cell, once the table went through :func:`release_together`.
    """

    labels: NDArray[Any]
    hidden: set[str] = field(default_factory=set)
    fixed: bool = False
    rounded: bool = True
    weight: float = 1.0
    poolable: bool = True
    steps: dict[str, float] = field(default_factory=dict)
    base: int = 1
    counted: bool = False
    told: bool = True
    smallest: int = 0

    def __post_init__(self) -> None:
        # Sorting codes is many times faster than sorting text.
        code, found = pd.factorize(np.asarray(self.labels, dtype=object), sort=True)
        self.names = [str(name) for name in found]
        self.code: NDArray[np.int64] = code.astype(np.int64)
        counts = np.bincount(self.code, minlength=len(self.names))
        self.sizes: dict[str, int] = dict(zip(self.names, counts.tolist(), strict=True))

    def crossed(self, other: Table, join: str, *, weight: float) -> Table:
        """Table of every pair of groups; what either table pools is pooled.

        Parameters
        ----------
        other : Table
            Over the same patients.
        join : str
            Put between the two names.
        weight : float
        """
        pair = self.code * len(other.names) + other.code
        found, code = np.unique(pair, return_inverse=True)
        pairs = [divmod(int(one), len(other.names)) for one in found]
        names = [
            ABSENT
            if ABSENT in (self.names[i], other.names[j])
            else f"{self.names[i]}{join}{other.names[j]}"
            for i, j in pairs
        ]
        hidden = {
            name
            for name, (i, j) in zip(names, pairs, strict=True)
            if name != ABSENT and (self.names[i] in self.hidden or other.names[j] in other.hidden)
        }
        labels = np.array(names, dtype=object)[code.reshape(-1)]
        return Table(labels=labels, hidden=hidden, weight=weight)

    @property
    def free(self) -> bool:
        """Whether its numbers of patients may be rounded."""
        return not (self.fixed or self.counted)

    def small(self, smallest: int) -> list[str]:
        """Groups with fewer patients."""
        return [n for n, size in self.sizes.items() if size < smallest and n != ABSENT]

    def held(self) -> int:
        """Patients in the pool."""
        return sum(self.sizes[name] for name in self.hidden)

    def rows(self) -> list[Row]:
        """The groups that are published, the pool last."""
        found = [
            Row(key=name, names=(name,), patients=self.sizes[name])
            for name in self.names
            if name not in self.hidden and name != ABSENT
        ]
        if self.hidden and self.held() >= self.smallest:
            pool = Row(key=POOLED, names=tuple(sorted(self.hidden)), patients=self.held())
            found.append(pool)
        return found

    def step(self, row: Row) -> float:
        """Rounding step of a row's figures: 0 where they are exact, infinite where withheld."""
        natural = rounding_step(row.patients) if self.rounded else 0.0
        return max(natural, self.steps.get(row.key, 0.0))

    def error(self, row: Row) -> float:
        """Largest rounding error of a row's total, in patients."""
        return row.patients * self.step(row) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Atoms:
    """Patients who are in the same group of every table, taken together.

    Attributes
    ----------
    sizes : int64 array, shape (atoms,)
    codes : list of int64 arrays, shape (atoms,)
        Which of a table's names each atom has, per table.
    """

    sizes: NDArray[np.int64]
    codes: list[NDArray[np.int64]]

    @classmethod
    def of(cls, tables: Sequence[Table]) -> Atoms:
        """Find the atoms of tables over the same patients."""
        joint = np.zeros(tables[0].code.size, dtype=np.int64)
        for table in tables:
            _, joint = np.unique(joint * len(table.names) + table.code, return_inverse=True)
            joint = joint.reshape(-1)
        sizes = np.bincount(joint)
        first = np.empty(sizes.size, dtype=np.int64)
        first[joint[::-1]] = np.arange(joint.size)[::-1]
        return cls(sizes=sizes, codes=[table.code[first] for table in tables])

    def columns(self, tables: Sequence[Table]) -> list[tuple[Table, Row, NDArray[np.bool_]]]:
        """Every published row with the atoms that it is over."""
        found = []
        for table, code in zip(tables, self.codes, strict=True):
            number = {name: place for place, name in enumerate(table.names)}
            for row in table.rows():
                holds = np.zeros(len(table.names), dtype=bool)
                holds[[number[name] for name in row.names]] = True
                found.append((table, row, holds[code]))
        return found


Columns = list[tuple[Table, Row, NDArray[np.bool_]]]


def release_together(
    tables: Sequence[Table], smallest: int, *, total: bool = True, progress: Progress = SILENT
) -> None:
    """Coarsen the tables until no patient is bounded more closely than the policy allows.

    Every patient must keep an uncertainty of at least `smallest` patients under every combination
    of the tables and the total; see :mod:`auscult.disclosure.bounds`.

    Parameters
    ----------
    tables : sequence of Table
        All over the same patients. Those that are not fixed are changed in place.
    smallest : int
        The smallest cell.
    total : bool
        Whether the total over everybody is known, too.
    progress : Progress, optional
    """
    patients = tables[0].labels.size if tables else 0
    if patients < smallest or smallest < 2:
        return
    for table in tables:
        if not table.fixed:
            table.smallest = smallest
        if not table.fixed and table.poolable:
            table.hidden |= set(table.small(smallest))
    atoms = Atoms.of(tables)
    # A pool that comes to be shown is a total that there was not: all are looked at once more.
    while not _pass(tables, atoms, smallest, progress, total=total):
        pass


def published(
    tables: Sequence[Table], atoms: Atoms, *, total: bool = True
) -> tuple[Columns, Published]:
    """Everything that tables, and the total over everybody, say, and which rows it is from.

    Parameters
    ----------
    tables : sequence of Table
    atoms : Atoms
    total : bool
        Whether the total is known.

    Returns
    -------
    columns : list
        Rows whose figures are not withheld; the last total of the other is that of everybody.
    published : Published
    """
    columns = [one for one in atoms.columns(tables) if np.isfinite(one[0].step(one[1]))]
    cells = np.ones((atoms.sizes.size, len(columns) + total))
    for place, (_, _, inside) in enumerate(columns):
        cells[:, place] = inside
    error = np.array([*(table.error(row) for table, row, _ in columns), *([0.0] * total)])
    return columns, Published(cells=cells, sizes=atoms.sizes, error=error)


def _pass(
    tables: Sequence[Table], atoms: Atoms, smallest: int, progress: Progress, *, total: bool
) -> bool:
    """Look at every patient; False where a total came that earlier patients were not held against.

    Withholding, coarser rounding and pooling with a pool that is shown take from what an attacker
    has, so who was safe before stays so.
    """
    columns, now = published(tables, atoms, total=total)
    leverage = now.leverage()
    few = (atoms.sizes < smallest) & (leverage > (1 - TOLERANCE) / smallest)
    candidates = np.flatnonzero(few)
    candidates = candidates[~now.assured(candidates, smallest)]
    whole, moved = True, False
    progress.start(STAGE, candidates.size)
    for atom in candidates[np.argsort(-leverage[candidates], kind="stable")]:
        progress.advance()
        # Who was not safe may be after changes that were made for others.
        if moved and now.assured(atom[None], smallest)[0]:
            continue
        while True:
            least, weights = least_uncertainty(now, int(atom), enough=smallest)
            if least >= smallest * (1 - TOLERANCE):
                break
            moves = _moves(columns, weights, smallest - least)
            move = min(moves, key=lambda one: one.price, default=None)
            if move is None:
                break  # only what is fixed tells, and nothing here can mend it
            whole &= move.apply()
            moved = True
            columns, now = published(tables, atoms, total=total)
    return whole


@dataclass(frozen=True, kw_only=True, eq=False)
class _Move:
    """One change of one table: a coarser step of a row, or rows that join the pool."""

    table: Table
    rows: tuple[Row, ...]
    price: float
    step: float = 0.0

    def apply(self) -> bool:
        """Make the change; True where an attacker surely has nothing more than before."""
        table = self.table
        if self.step:
            table.steps[self.rows[0].key] = self.step
            return True
        pool = [row for row in table.rows() if row.key == POOLED]
        # A pool whose total is as uncertain as those that it was made of tells no more than they.
        known = bool(pool) or not table.hidden
        error = sum(table.error(row) for row in (*self.rows, *pool))
        table.hidden.update(*(row.names for row in self.rows))
        shown = [row for row in table.rows() if row.key == POOLED]
        if known and shown:
            table.steps[POOLED] = _step_for(error, shown[0].patients)
        return known or not shown


def _step_for(error: float, patients: int) -> float:
    """The least step that gives a total of so many patients at least this error."""
    wanted = 2 * error / patients
    return step_of_at_least(wanted) if wanted <= COARSEST else np.inf


def _moves(columns: Columns, weights: NDArray[np.float64], lacking: float) -> Iterator[_Move]:
    """Changes that break a combination, or at least change a row of it."""
    for (table, row, _), weight in zip(columns, np.abs(weights[: len(columns)]), strict=True):
        if table.fixed or weight <= TOLERANCE:
            continue
        worth = table.weight * row.patients
        step = _step_for(table.error(row) + 1.01 * lacking / weight, row.patients)
        natural = rounding_step(row.patients)
        if step <= max(TIMES * natural, FINE):
            price = 0.02 * worth * step / natural
        else:
            price = (0.5 if np.isfinite(step) else 1.01) * worth
        yield _Move(table=table, rows=(row,), step=step, price=price)
        if not table.poolable or row.key == POOLED:
            continue
        if not table.hidden:
            yield from _pairs(table, row)
        elif table.held() + row.patients >= table.smallest:
            yield _Move(table=table, rows=(row,), price=worth)


def _pairs(table: Table, row: Row) -> Iterator[_Move]:
    """A row pooled with one of the smallest others."""
    others = sorted((r for r in table.rows() if r != row), key=lambda r: (r.patients, r.key))
    for other in others[:MOST_TRIED]:
        both = row.patients + other.patients
        yield _Move(table=table, rows=(row, other), price=table.weight * both)

"""Which numbers of patients a small cell may have, given all numbers that are published.

An attacker knows every published number with its rounding, that groups which are shown reach the
smallest cell, and that those which are not shown and have no pool do not. What he asks of a cell is
an integer programme: the largest and the smallest number that some table of whole numbers, none of
them negative, has there while it agrees with everything published. A range is proved by tables that
reach its ends, so that programmes over a part of the atoms are as good a proof (the others stay as
they are), and so is one exchange of patients between two atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from auscult.disclosure.bounds import patients_of_step, rounding_step
from auscult.disclosure.control import ABSENT, Atoms, Row, Table
from auscult.disclosure.prices import FAR, Known, Prices, furthest, rows_over

_COLUMNS = (60, 250, 600)
_TRIED, _NODES, _KEPT, _PRICES = 24, 500, 200, 4
_TOLERANCE = 1e-6


def rounded_count(number: int, base: int) -> int:
    """A number of patients, rounded to a base.

    Parameters
    ----------
    number : int
    base : int
        1 leaves it as it is.
    """
    return number if base <= 1 else base * ((2 * number + base) // (2 * base))


def ends(number: int, base: int) -> tuple[int, int]:
    """The least and the largest number that is rounded as this one is."""
    low = rounded_count(number, base) - (base // 2 if base > 1 else 0)
    return low, low + base - 1


class Margins:
    """All numbers of patients that tables say, together.

    Parameters
    ----------
    tables : sequence of Table
    atoms : Atoms
        Of these tables.
    smallest : int
        The smallest cell.
    total : bool
        Whether the number of everybody is known, too.
    """

    def __init__(
        self, tables: Sequence[Table], atoms: Atoms, smallest: int, *, total: bool
    ) -> None:
        self.sizes = atoms.sizes.astype(np.int64)
        self.smallest = smallest
        self._tables, self._codes = tables, atoms.codes
        self._seen = np.zeros((1, self.sizes.size), dtype=np.int32)
        # Of the cells that were asked for: what ruled them out, and tables that proved their range.
        self._ruled_out: dict[tuple[bytes, int], list[list[Prices]]] = {}
        self._proved: dict[tuple[bytes, int], list[NDArray[np.int32]]] = {}
        self.known: list[Known] = []
        for place in range(len(tables)):
            self.known += self._of(place)
        if total:
            everybody = np.array([float(self.sizes.sum()), 0.0])
            row = np.zeros(self.sizes.size, dtype=np.int64)
            free = np.array([FAR])
            self.known.append(
                Known(
                    table=-1,
                    row=row,
                    now=everybody,
                    low=np.append(everybody[:1], -free),
                    high=np.append(everybody[:1], free),
                )
            )

    def coarser(self, place: int) -> Margins:
        """The same with another base, or another rule, of one of the tables."""
        made = object.__new__(Margins)
        made.sizes, made.smallest = self.sizes, self.smallest
        made._tables, made._codes = self._tables, self._codes
        made._ruled_out, made._proved = self._ruled_out, self._proved
        now = made._of(place)
        made.known = [one for one in self.known if one.table != place] + now
        made._seen = self._seen[[all(k.agrees(moved) for k in now) for moved in self._seen]]
        return made

    def _of(self, place: int) -> list[Known]:
        """What a table says: of its rows, and of groups by whether they are shown."""
        table, code = self._tables[place], self._codes[place]
        number = {name: at for at, name in enumerate(table.names)}
        rows = [(row, *self._range(table, row)) for row in table.rows()]
        if table.hidden and table.held() < self.smallest and not table.fixed:
            held = Row(key="", names=tuple(sorted(table.hidden)), patients=table.held())
            rows.append((held, len(table.hidden) if table.told else 1, self.smallest - 1))
        found = [self._known(place, rows, number, code)]
        single = []
        large = [name for name in table.hidden if table.sizes[name] >= self.smallest]
        for name in sorted(table.hidden) if not table.fixed else ():
            low, high = int(table.told), FAR
            if len(large) == 1:
                # A pool that is named after the one large group in it says so.
                low = self.smallest if name in large else low
                high = FAR if name in large else self.smallest - 1
            if low > 0 or high < FAR:
                one = Row(key=name, names=(name,), patients=table.sizes[name])
                single.append((one, low, high))
        if single:
            found.append(self._known(place, single, number, code))
        return found

    def _range(self, table: Table, row: Row) -> tuple[float, float]:
        low, high = ends(row.patients, table.base)
        step = table.step(row)
        if np.isfinite(step) and step > 0:
            # Its figures say how many patients support them.
            least, most = patients_of_step(step)
            low = max(low, least)
            high = min(high, most) if step == rounding_step(row.patients) else high
        if row.patients >= self.smallest:
            return max(low, self.smallest), high
        # Not shown, and known for it; an earlier report may have had a smaller cell.
        return (low, high) if table.fixed else (0, self.smallest - 1)

    def _known(
        self,
        place: int,
        rows: Sequence[tuple[Row, float, float]],
        number: dict[str, int],
        code: NDArray[np.int64],
    ) -> Known:
        of_name = np.full(len(number), len(rows), dtype=np.int64)
        for at, (row, _, _) in enumerate(rows):
            of_name[[number[name] for name in row.names]] = at
        return Known(
            table=place,
            row=of_name[code],
            now=np.array([*(float(row.patients) for row, _, _ in rows), 0.0]),
            low=np.array([*(float(low) for _, low, _ in rows), -FAR]),
            high=np.array([*(float(high) for _, _, high in rows), FAR]),
        )

    def possible(self, cell: NDArray[np.bool_], wanted: int) -> int:
        """How many numbers of patients a cell may have, counted from 1 and up to so many.

        Nobody's being in a cell does not count: that somebody is in a hospital is often known.

        Parameters
        ----------
        cell : bool array, shape (atoms,)
        wanted : int
            Further ones are not looked for.
        """
        self._look_for(cell, wanted, (0, *_COLUMNS))
        return min(1 + sum(self._reached(cell, wanted - 1)), wanted)

    def keeps(self, cell: NDArray[np.bool_], wanted: int) -> bool:
        """Whether a cell may have so many numbers; sooner told than how many it may have.

        Parameters
        ----------
        cell : bool array, shape (atoms,)
        wanted : int
        """
        key = np.packbits(cell).tobytes(), wanted
        for before in self._ruled_out.get(key, []):
            if sum(_whole(one.most(self.known)) for one in before) < wanted - 1:
                return False
        for moved in self._proved.get(key, []):
            if all(known.agrees(moved) for known in self.known):
                self._keep(moved)
        if not self._found(cell, wanted, key):
            return False
        reached = self._seen[:, cell].sum(axis=1)
        used = {int(reached.argmax()), int(reached.argmin())} - {0}
        self._proved[key] = [self._seen[one].copy() for one in used]
        return True

    def _found(self, cell: NDArray[np.bool_], wanted: int, key: tuple[bytes, int]) -> bool:
        """Whether tables are found in which a cell has so many numbers; why not is kept."""
        further = wanted - 1
        if self._look_for(cell, wanted, (0, _COLUMNS[0])):
            return True
        kept, near = (self._columns(cell, most) for most in (_COLUMNS[-1], _COLUMNS[0]))
        moving = self._moving(cell, further, kept)
        if moving.size:
            self._programme(cell, further, np.union1d(near, moving))
            return self._look_for(cell, wanted, _COLUMNS[1:])
        # Most cells that have too few numbers have too few in fractions of patients as well.
        down = min(int(self.sizes[cell].sum()) - 1, further)
        own, held, most = cell[kept].astype(np.float64), [], [0, 0]
        for side, wished in enumerate((further, -down)):
            if wished and sum(most) < further:
                far, prices = furthest(self.known, kept, self.sizes[kept], own, wished)
                most[side] = min(_whole(far), further - sum(most))
                held.append(prices)
        if sum(most) < further:
            self._ruled_out[key] = [held, *self._ruled_out.get(key, [])[: _PRICES - 1]]
            return False
        for wished in (most[0], -most[1]):
            if wished:
                moving = self._moving(cell, wished, kept)
                self._programme(cell, wished, np.union1d(near, moving))
        return self._look_for(cell, wanted, _COLUMNS[1:])

    def _look_for(self, cell: NDArray[np.bool_], wanted: int, sides: Sequence[int]) -> bool:
        """Look for tables in which a cell has other numbers, until so many are found.

        Parameters
        ----------
        cell : bool array, shape (atoms,)
        wanted : int
        sides : sequence of int
            Over how many atoms programmes are solved, one after another; 0 is one exchange.
        """
        number, further = int(self.sizes[cell].sum()), wanted - 1
        fewer = 0
        for side in sides:
            for up in (True, False):
                reached = self._reached(cell, further)
                # A range below 1 is no use, and neither is more than what is wanted.
                most = further if up else min(number - 1, further - reached[0])
                if sum(reached) >= further or most < 1 or reached[not up] >= most:
                    continue
                if not side:
                    self._exchanged(cell if up else ~cell, most)
                elif self.sizes.size > fewer:
                    self._programme(cell, most if up else -most, self._columns(cell, side))
            fewer = side
        return sum(self._reached(cell, further)) >= further

    def _reached(self, cell: NDArray[np.bool_], most: int) -> tuple[int, int]:
        """How many more and how many fewer a cell has in a table that was found; never nobody."""
        moved = self._seen[:, cell].sum(axis=1)
        fewer = min(int(self.sizes[cell].sum()) - 1, -int(moved.min()))
        return min(int(moved.max()), most), max(fewer, 0)

    def _keep(self, moved: NDArray[np.int32]) -> None:
        """Keep how many patients joined each atom in a table that agrees with everything."""
        first, later = self._seen[:1], self._seen[1:][-_KEPT:]
        self._seen = np.concatenate([first, later, moved[None].astype(np.int32)])

    def _exchanged(self, into: NDArray[np.bool_], wanted: int) -> int:
        """How many patients one atom outside can give to one inside, at least."""
        best, givers = 0, (0, 0)
        outside = np.flatnonzero(~into)
        inside = np.flatnonzero(into)
        if not outside.size or not inside.size or wanted < 1:
            return 0
        # The smaller side is gone through; a few of it are enough to try.
        few, many, gains = (inside, outside, True)
        if outside.size < inside.size:
            few, many, gains = outside, inside, False
        few = few[np.argsort(-self.sizes[few], kind="stable")[:_TRIED]]
        for one in few:
            slack = np.full(many.size, FAR)
            for known in self.known:
                up, down = known.high - known.now, known.now - known.low
                mine, theirs = known.row[one], known.row[many]
                room = (
                    np.minimum(up[mine], down[theirs])
                    if gains
                    else np.minimum(down[mine], up[theirs])
                )
                slack = np.minimum(slack, np.where(theirs == mine, FAR, room))
            giving = np.minimum(slack, self.sizes[many] if gains else self.sizes[one])
            place = int(np.argmax(giving))
            if giving[place] > best:
                best = int(min(giving[place], wanted))
                own, other = int(one), int(many[place])
                givers = (own, other) if gains else (other, own)
            if best >= wanted:
                break
        if best:
            moved = np.zeros(self.sizes.size, dtype=np.int32)
            moved[[*givers]] = best, -best
            self._keep(moved)
        return best

    def _programme(self, cell: NDArray[np.bool_], wanted: int, kept: NDArray[np.int64]) -> None:
        """Move the cell's number towards `wanted` further ones, as far as these atoms can.

        The integer programme; what it finds is kept.
        """
        cost, limits = self._linear(cell, wanted, kept)
        # In fractions of patients it is quickly told, and often that nothing is to be gained.
        relaxed = milp(cost, **limits)
        reached = self._reached(cell, abs(wanted))[0 if wanted > 0 else 1]
        if relaxed.status == 0 and -relaxed.fun < reached + 1 - _TOLERANCE:
            return
        found = milp(
            cost,
            **limits,
            integrality=np.ones(kept.size, dtype=np.int64),
            options={"node_limit": _NODES, "mip_rel_gap": 0.0},
        )
        if found.x is None:
            return
        moved = np.zeros(self.sizes.size, dtype=np.int32)
        moved[kept] = np.round(found.x)
        # Solvers allow for some slack; what was rounded must agree to the patient.
        if (self.sizes + moved >= 0).all() and all(known.agrees(moved) for known in self.known):
            self._keep(moved)

    def _moving(
        self, cell: NDArray[np.bool_], wanted: int, kept: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Atoms that change where a cell has the wanted further ones and as few as can move."""
        matrix, below, above = rows_over(self.known, kept)
        own = sparse.csr_array(cell[kept].astype(np.float64)[None, :])
        both = sparse.vstack([matrix, own], format="csr")
        solved = milp(
            np.ones(2 * kept.size),
            constraints=LinearConstraint(
                sparse.hstack([both, -both], format="csr"),
                np.append(below, wanted),
                np.append(above, wanted),
            ),
            bounds=Bounds(0.0, np.append(np.full(kept.size, FAR), self.sizes[kept].astype(float))),
        )
        if solved.x is None:
            return kept[:0]
        come, gone = np.split(solved.x, 2)
        return kept[come + gone > _TOLERANCE]

    def _linear(
        self, cell: NDArray[np.bool_], wanted: int, kept: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """The cost of each atom that may change, and constraints and bounds of a programme.

        Its least cost is how far the cell's number goes towards `wanted` further ones, negated.
        """
        matrix, below, above = rows_over(self.known, kept)
        own = cell[kept].astype(np.float64)
        least, most = sorted((0.0, float(wanted)))
        limit = LinearConstraint(own[None, :], lb=np.array([least]), ub=np.array([most]))
        bounds = Bounds(-self.sizes[kept].astype(np.float64), np.full(kept.size, FAR))
        rows = [LinearConstraint(matrix, below, above), limit]
        return -np.sign(wanted) * own, {"constraints": rows, "bounds": bounds}

    def binding(self, cell: NDArray[np.bool_]) -> set[int]:
        """Tables whose numbers hold a cell where it is: those with a price in either programme."""
        kept = self._columns(cell, _COLUMNS[-1])
        matrix, below, above = rows_over(self.known, kept)
        owner = np.concatenate([np.full(k.now.size - 1, k.table) for k in self.known])
        both: Any = sparse.vstack([matrix, -matrix], format="csr")
        bounds: Any = np.stack([-self.sizes[kept].astype(float), np.full(kept.size, FAR)], axis=1)
        found: set[int] = set()
        for side in (1.0, -1.0):
            solved = linprog(
                -side * cell[kept].astype(np.float64),
                A_ub=both,
                b_ub=np.concatenate([above, -below]),
                bounds=bounds,
                method="highs",
            )
            if solved.status == 0:
                price = np.abs(solved.ineqlin.marginals).reshape(2, -1).max(axis=0)
                found |= {int(one) for one in owner[price > _TOLERANCE]}
        return found

    def _columns(self, cell: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
        """The atoms that may change: all of few; else the cell's, those like them, the largest."""
        n = self.sizes.size
        if n <= most:
            return np.arange(n)
        mine = np.flatnonzero(cell)
        mine = mine[np.argsort(-self.sizes[mine], kind="stable")[: most // 5]]
        alike = np.zeros(n)
        for one in mine[:_TRIED]:
            alike = np.maximum(alike, sum((k.row == k.row[one]).astype(float) for k in self.known))
        order = np.lexsort((-self.sizes, -alike))
        chosen = np.concatenate(
            [mine, order[: 3 * most // 5], np.argsort(-self.sizes, kind="stable")]
        )
        _, first = np.unique(chosen, return_index=True)
        return np.sort(chosen[np.sort(first)][:most])


def _whole(most: float) -> int:
    """A number of patients that is told in fractions."""
    return int(min(most, FAR) + _TOLERANCE)


def small_cells(tables: Sequence[Table], atoms: Atoms, smallest: int) -> NDArray[np.bool_]:
    """The cells to be kept: indicators over atoms, shape (cells, atoms).

    Groups under the smallest cell, and what a table hides without a pool. And every atom, and every
    pair of groups of two tables, that so few patients are in, where its number is a combination of
    the numbers that are published (before any rounding): what a difference of two reports, or of
    two nested groups, is about.

    Parameters
    ----------
    tables : sequence of Table
    atoms : Atoms
    smallest : int
        Patients of the smallest cell that is published.
    """
    found = []
    for table, code in zip(tables, atoms.codes, strict=True):
        small = [at for at, name in enumerate(table.names) if name in table.small(smallest)]
        found += [code == at for at in small]
        if len(table.hidden) > 1 and table.held() < smallest and not table.fixed:
            found.append(np.isin(code, [table.names.index(name) for name in table.hidden]))
    columns = [inside for _, _, inside in atoms.columns(tables)]
    if columns:
        found += _following(tables, atoms, np.array(columns).T, smallest)
    if not found:
        return np.zeros((0, atoms.sizes.size), dtype=bool)
    # Sorting rows of an array takes seconds, in which nothing else runs.
    distinct = {cell.tobytes(): cell for cell in found}
    return np.array([distinct[key] for key in sorted(distinct)])


def _following(
    tables: Sequence[Table], atoms: Atoms, rows: NDArray[np.bool_], smallest: int
) -> list[NDArray[np.bool_]]:
    """Small atoms, and pairs of groups of two tables, that are combinations of rows and total."""
    n = atoms.sizes.size
    cells = np.ones((n, rows.shape[1] + 1))
    cells[:, :-1] = rows
    inverse = np.linalg.pinv(cells.T @ cells, hermitian=True)
    leverage = np.einsum("ij,ij->i", cells @ inverse, cells)
    alone = np.flatnonzero((atoms.sizes < smallest) & (leverage > 1 - _TOLERANCE))
    found = [np.arange(n) == one for one in alone]
    plain = [place for place, table in enumerate(tables) if table.weight >= 1]
    for at, first in enumerate(plain):
        for second in plain[:at]:
            width = len(tables[second].names)
            pair = atoms.codes[first] * width + atoms.codes[second]
            kinds, joint = np.unique(pair, return_inverse=True)
            number = np.bincount(joint, atoms.sizes)
            # Whom one of them is not about are those who came or left: they are a cell, too.
            said = np.array(
                [
                    _said(tables[first], int(one) // width)
                    or _said(tables[second], int(one) % width)
                    for one in kinds
                ]
            )
            few = np.flatnonzero((number < smallest) & said)
            if not few.size:
                continue
            which: Any = sparse.csr_array((np.ones(n), (joint, np.arange(n))), (kinds.size, n))
            crossed = np.asarray(which[few] @ cells)
            many = np.bincount(joint)[few]
            told = np.einsum("ij,ij->i", crossed @ inverse, crossed)
            found += [joint == one for one in few[told > many - _TOLERANCE]]
    return found


def _said(table: Table, code: int) -> bool:
    return table.names[code] != ABSENT

"""Numbers of patients: those of a table are rounded where a small cell would follow from them.

Every cell under the smallest one must keep as many possible numbers as rounding to 5 leaves,
whatever is published is taken together; see :mod:`auscult.disclosure.margins`. Where one keeps
fewer, the change that costs least is made: how many groups are not shown is not said; the numbers
of a table are rounded to 5, 10, 15 or 20, those of an intersection before those of an attribute. If
that is not enough, another group is pooled with those that are too small.

Who is in no combination of groups at all is taken as known to the attacker (no patient is in
hospital H1 and region south), which makes the check the stricter one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.base.progress import SILENT, Progress
from auscult.disclosure.bounds import rounding_step
from auscult.disclosure.control import ABSENT, POOLED, STAGE, Atoms, Row, Table
from auscult.disclosure.margins import Margins, rounded_count, small_cells

__all__ = ["BASE", "possible_numbers", "round_counts", "rounded_count"]

BASE = 5


def possible_numbers(smallest: int, base: int = BASE) -> int:
    """How many possible numbers a cell under the smallest one keeps.

    Parameters
    ----------
    smallest : int
        The smallest cell. "Fewer than 4" leaves three numbers, so no more are asked for.
    base : int
        What numbers that tell a small cell are rounded to.
    """
    return max(1, min(BASE, base, smallest - 1))


def round_counts(
    tables: Sequence[Table],
    smallest: int,
    *,
    base: int = BASE,
    total: bool = True,
    progress: Progress = SILENT,
) -> bool:
    """Set the base to which a table's numbers of patients are rounded.

    Parameters
    ----------
    tables : sequence of Table
        As :func:`auscult.disclosure.release_together` left them.
    smallest : int
        The smallest cell.
    base : int
        Numbers of a table that gives a small cell away are rounded to it, or to a multiple. At most
        the smallest cell is used.
    total : bool
        Whether the number of everybody is known, too.
    progress : Progress, optional

    Returns
    -------
    bool
        True where no rounding was enough and a further group was pooled: there are other totals
        then, and the tables have to be released again.
    """
    if not tables or tables[0].labels.size < smallest or smallest < 2:
        return False
    base = max(2, min(base, smallest))
    wanted = possible_numbers(smallest, base)
    for table in tables:
        # What a table hides without a pool would follow from its own total.
        if table.free and table.hidden and table.held() < smallest:
            table.base = max(table.base, base)
    atoms = Atoms.of(tables)
    now = Margins(tables, atoms, smallest, total=total)
    cells = small_cells(tables, atoms, smallest)
    earlier = _known_of([table.fixed for table in tables], tables, atoms, smallest, total=False)
    anyhow = [not table.free for table in tables]
    known = _known_of(anyhow, tables, atoms, smallest, total=total)
    moved, given_up, apart = True, set[int](), np.zeros(atoms.sizes.size, dtype=bool)
    # Coarser numbers of one table can be a closer bound on another cell: all are looked at again.
    while moved:
        moved = False
        progress.start(STAGE, len(cells))
        for number, cell in enumerate(cells):
            progress.advance()
            if number in given_up or now.keeps(cell, wanted):
                continue
            bases = _bases(base, smallest)
            if earlier is not None and earlier.possible(cell, wanted) <= now.possible(cell, wanted):
                given_up.add(number)  # earlier reports tell it, and this one adds nothing
                continue
            if known is not None and not known.keeps(cell, wanted):
                # That few came or left is known, and nothing here can mend it: no group is shown,
                # and what cannot be pooled is rounded so that it does not say where they are.
                if _all_pooled(tables):
                    return True
                given_up.add(number)
                apart |= cell
                continue
            made = _coarsened(tables, now, cell, wanted, bases)
            if made is not None:
                now, moved = made, True
            elif _pooled(tables, now.binding(cell)):
                return True
            else:
                given_up.add(number)  # only what is fixed tells, and nothing here can mend it
        if apart.any():
            before, now = now, _blurred(tables, atoms, now, apart, _bases(base, smallest))
            moved |= now is not before
            apart[:] = False
    return False


def _known_of(
    chosen: Sequence[bool],
    tables: Sequence[Table],
    atoms: Atoms,
    smallest: int,
    *,
    total: bool,
) -> Margins | None:
    """What is known of some of the tables; None where that is nothing."""
    places = [place for place, one in enumerate(chosen) if one]
    if not places and not total:
        return None
    some = Atoms(sizes=atoms.sizes, codes=[atoms.codes[place] for place in places])
    return Margins([tables[place] for place in places], some, smallest, total=total)


def _all_pooled(tables: Sequence[Table]) -> bool:
    """Pool every group of the tables that may change; whether one was shown."""
    shown = False
    for table in tables:
        names = {name for name in table.names if name != ABSENT}
        if table.free and table.poolable and names - table.hidden:
            table.hidden |= names
            shown = True
    return shown


def _blurred(
    tables: Sequence[Table],
    atoms: Atoms,
    now: Margins,
    apart: NDArray[np.bool_],
    bases: Sequence[int],
) -> Margins:
    """Round so that no table says which of its groups came by these patients, or lost them.

    Whoever knows all numbers from before sees in exact ones where the few are who came. A number
    that is rounded as it would be without them does not tell, where half of the other groups are
    as possible. And figures of all groups are as coarse as those that had to be: only where
    somebody came or left they had to.
    """
    people = int(atoms.sizes[apart].sum())
    for place, (table, code) in enumerate(zip(tables, atoms.codes, strict=True)):
        shown = table.rows()
        if not table.free or len(shown) < 2:
            continue
        mine = [_held_by(table, row, code, apart, atoms) for row in shown]
        own = [(row.patients, row.patients - n) for row, n in zip(shown, mine, strict=True) if n]
        other = [
            (row.patients, row.patients + people)
            for row, n in zip(shown, mine, strict=True)
            if not n
        ]
        options = [table.base, *(one for one in bases if one > table.base)]
        alike = {one: (_alike(own, one), min(_alike(other, one), 0.5)) for one in options}
        base = next(one for one in options if alike[one] == max(alike.values()))
        if any(table.step(row) > rounding_step(row.patients) for row in shown):
            coarsest = max(table.step(row) for row in shown)
            table.steps |= {row.key: coarsest for row in shown}
        if base != table.base:
            table.base = base
            now = now.coarser(place)
    return now


def _alike(pairs: Sequence[tuple[int, int]], base: int) -> float:
    """Share of pairs of numbers that are rounded to the same."""
    same = [rounded_count(one, base) == rounded_count(two, base) for one, two in pairs]
    return sum(same) / len(same) if same else 1.0


def _held_by(
    table: Table, row: Row, code: NDArray[np.int64], cell: NDArray[np.bool_], atoms: Atoms
) -> int:
    """How many of some patients are in a row."""
    names = [place for place, name in enumerate(table.names) if name in row.names]
    return int(atoms.sizes[cell & np.isin(code, names)].sum())


def _bases(base: int, smallest: int) -> list[int]:
    """Bases to try. With the last, no group that is shown is rounded to nobody."""
    return list(range(base, 2 * smallest + 1, base))


@dataclass(frozen=True, kw_only=True)
class _Change:
    """Another base of a table, or that the number of its hidden groups is not told."""

    place: int
    base: int
    told: bool
    price: float


def _changes(
    tables: Sequence[Table], places: Sequence[int], bases: Sequence[int]
) -> Iterator[_Change]:
    for place in places:
        table = tables[place]
        if not table.free:
            continue
        if table.told and table.hidden:
            yield _Change(place=place, base=table.base, told=False, price=0.0)
        for one in bases:
            if one > table.base:
                price = table.weight * len(table.rows()) * one
                yield _Change(place=place, base=one, told=table.told, price=price)


def _coarsened(
    tables: Sequence[Table],
    now: Margins,
    cell: NDArray[np.bool_],
    wanted: int,
    bases: Sequence[int],
) -> Margins | None:
    """Make the cheapest change that gives the cell its range; None where none does."""
    tried = now.binding(cell)
    for places in (sorted(tried - {-1}), [p for p in range(len(tables)) if p not in tried]):
        for change in sorted(_changes(tables, places, bases), key=lambda c: (c.price, c.place)):
            table = tables[change.place]
            before = (table.base, table.told)
            table.base, table.told = change.base, change.told
            made = now.coarser(change.place)
            if made.keeps(cell, wanted):
                return made
            table.base, table.told = before
    return _together(tables, now, cell, wanted, bases)


def _together(
    tables: Sequence[Table],
    now: Margins,
    cell: NDArray[np.bool_],
    wanted: int,
    bases: Sequence[int],
) -> Margins | None:
    """Round several tables, where each of them alone tells the cell; no more than are needed."""
    free = [place for place, table in enumerate(tables) if table.free]
    before = {place: (tables[place].base, tables[place].told) for place in free}
    dearest = sorted(free, key=lambda p: (-tables[p].weight * len(tables[p].rows()), -p))
    for base in bases:
        for place in free:
            tables[place].base, tables[place].told = max(before[place][0], base), False
            now = now.coarser(place)
        if not now.keeps(cell, wanted):
            continue
        for place in dearest:
            table = tables[place]
            after = (table.base, table.told)
            for table.base, table.told in (before[place], (before[place][0], False), after):
                made = now.coarser(place)
                if (table.base, table.told) == after or made.keeps(cell, wanted):
                    break
            now = made
        return now
    for place in free:
        tables[place].base, tables[place].told = before[place]
    return None


def _pooled(tables: Sequence[Table], binding: set[int]) -> bool:
    """Pool the smallest group that is shown in one of the tables that hold a cell; whether one is.

    Of the tables, the one where it costs least.
    """
    costs = []
    for place, table in enumerate(tables):
        shown = [row for row in table.rows() if row.key != POOLED]
        if table.free and table.poolable and shown:
            row = min(shown, key=lambda r: (r.patients, r.key))
            price = table.weight * row.patients
            costs.append((place not in binding, price, place, row.key))
    if not costs:
        return False
    _, _, place, key = min(costs)
    tables[place].hidden.add(key)
    return True

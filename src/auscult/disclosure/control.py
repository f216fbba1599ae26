"""Coarsen tables, as little as helps, until no combination of them bounds a patient too closely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from auscult.disclosure.bounds import TOLERANCE, Published, least_uncertainty

MOST_TRIED = 6


@dataclass(kw_only=True, eq=False)
class Table:
    """A table of groups that is to be published.

    Attributes
    ----------
    labels : str array, shape (patients,)
        Group of each patient.
    hidden : set of str
        Groups that are pooled; release adds to it.
    fixed : bool
        It is published as it is, or was: other tables have to give way.
    rounded : bool
        Its means are rounded to what their number of patients supports.
    weight : float
        What a patient without a group of their own costs in this table.
    """

    labels: NDArray[np.str_]
    hidden: set[str] = field(default_factory=set)
    fixed: bool = False
    rounded: bool = True
    weight: float = 1.0

    def __post_init__(self) -> None:
        names, self._code, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        self.names = [str(name) for name in names]
        self.sizes: dict[str, int] = dict(zip(self.names, counts.tolist(), strict=True))

    def groups(self, more: Sequence[str] = ()) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
        """Number of each patient's published group, and the names that each group holds."""
        pooled = self.hidden | set(more)
        alone: list[tuple[str, ...]] = [(name,) for name in self.names if name not in pooled]
        held = [*alone, tuple(sorted(pooled))] if pooled else alone
        number = {name: place for place, names in enumerate(held) for name in names}
        return np.array([number[name] for name in self.names])[self._code.reshape(-1)], held

    def lost(self, more: Sequence[str]) -> float:
        """Price of pooling further groups."""
        return self.weight * float(sum(self.sizes[name] for name in more))


def release_together(tables: Sequence[Table], smallest: int) -> None:
    """Pool groups of the tables until no patient is bounded more closely than the policy allows.

    Every patient must keep an uncertainty of at least `smallest` patients under every combination
    of the tables and the total; see :mod:`auscult.disclosure.bounds`.

    Parameters
    ----------
    tables : sequence of Table
        All over the same patients. Those that are not fixed are changed in place.
    smallest : int
        The smallest cell.
    """
    patients = tables[0].labels.size if tables else 0
    if patients < smallest or smallest < 2:
        return
    _join_small(tables, smallest)
    cleared = np.zeros(patients, dtype=bool)
    changed = False
    while True:
        told = _telling(tables, smallest, cleared)
        if told is None:
            if not changed:
                return
            # Pooling changes rounding errors: what was cleared before is looked at once more.
            cleared[:], changed = False, False
            continue
        patient, weights = told
        move = _cheapest(tables, patient, weights, smallest)
        if move is None:
            return
        table, more = move
        table.hidden |= set(more)
        changed = True


def _join_small(tables: Sequence[Table], smallest: int) -> None:
    """Groups under the smallest cell are pooled, with partners who give nothing else away."""
    for table in tables:
        if table.fixed:
            continue
        table.hidden |= {name for name, size in table.sizes.items() if size < smallest}
    for table in tables:
        if table.fixed or not table.hidden:
            continue
        while sum(table.sizes[name] for name in table.hidden) < smallest:
            left = sorted(set(table.names) - table.hidden, key=lambda n: (table.sizes[n], n))
            if not left:
                break
            others = [one for one in tables if one is not table]
            fits = (n for n in left[:MOST_TRIED] if _harmless(table, n, others, smallest))
            table.hidden.add(next(fits, left[0]))


def _harmless(table: Table, name: str, others: Sequence[Table], smallest: int) -> bool:
    trial = Table(labels=table.labels, hidden=table.hidden | {name}, rounded=table.rounded)
    none = np.zeros(table.labels.size, dtype=bool)
    return all(
        _telling([trial, other], smallest, none) is None
        for other in others
        if other.fixed or other.weight >= 1
    )


def _published(tables: Sequence[Table]) -> Published:
    codes = [table.groups()[0] for table in tables]
    total = np.zeros(codes[0].size, dtype=np.int64)
    return Published.of([*codes, total], [*(table.rounded for table in tables), False])


def _telling(
    tables: Sequence[Table], smallest: int, cleared: NDArray[np.bool_]
) -> tuple[int, NDArray[np.float64]] | None:
    """A patient who is bounded too closely and the combination that does it, or None.

    Patients found safe are noted in `cleared`.
    """
    published = _published(tables)
    leverage = published.leverage()
    first = np.full(published.sizes.size, -1)
    first[published.atom[::-1]] = np.arange(published.atom.size)[::-1]
    candidates = np.flatnonzero(
        (published.sizes < smallest) & (leverage > (1 - TOLERANCE) / smallest) & ~cleared[first]
    )
    for atom in candidates[np.argsort(-leverage[candidates], kind="stable")]:
        least, weights = least_uncertainty(published, int(atom))
        if least < smallest - TOLERANCE * smallest:
            return int(first[atom]), weights
        cleared[published.atom == atom] = True
    return None


def _cheapest(
    tables: Sequence[Table], patient: int, weights: NDArray[np.float64], smallest: int
) -> tuple[Table, tuple[str, ...]] | None:
    """The pooling that protects the patient at the least price; else the cheapest there is."""
    moves = sorted(_moves(tables, weights), key=lambda move: (move[0].lost(move[1]), move[1]))
    for table, more in moves[:MOST_TRIED]:
        kept = set(table.hidden)
        table.hidden |= set(more)
        published = _published(tables)
        least, _ = least_uncertainty(published, int(published.atom[patient]))
        table.hidden = kept
        if least >= smallest * (1 - TOLERANCE):
            return table, more
    return moves[0] if moves else None


def _moves(
    tables: Sequence[Table], weights: NDArray[np.float64]
) -> Iterator[tuple[Table, tuple[str, ...]]]:
    """Poolings that would break the combination up."""
    place = 0
    for table in tables:
        _, groups = table.groups()
        used = np.abs(weights[place : place + len(groups)]) > TOLERANCE
        place += len(groups)
        if table.fixed or len(groups) < 2:
            continue
        alone = [names[0] for names in groups if not set(names) & table.hidden]
        named = [
            names[0]
            for names, is_used in zip(groups, used, strict=True)
            if is_used and names[0] in alone
        ]
        if not used.any():
            continue
        for name in named or alone:
            if table.hidden:
                yield table, (name,)
            else:
                near = sorted(set(alone) - {name}, key=lambda n: (table.sizes[n], n))
                yield from ((table, (name, other)) for other in near[:MOST_TRIED])

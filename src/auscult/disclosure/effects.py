"""Weighted sums over patients, and numbers of patients by a yes or no: published with the tables.

A difference at other things equal is a weighted sum of patients' figures, with weights that an
attacker may know. It is a row of the same programme as the means of groups, see
:mod:`auscult.disclosure.bounds`, with one column for every patient whom it weighs. What gives way
is the sum: it is rounded more coarsely, and left out where no step up to 0.05 is coarse enough.

How many patients say yes is rounded, and taken as known exactly where a factor's definition tells
it (the tenth with the largest distance). Where a small number of patients would keep fewer possible
numbers with it than without it, it is rounded more coarsely, and the factor is left out where that
is not enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.disclosure.bounds import (
    TOLERANCE,
    Published,
    least_uncertainty,
    step_of_at_least,
)
from auscult.disclosure.control import ABSENT, COARSEST, Atoms, Table, published
from auscult.disclosure.counts import BASE, possible_numbers
from auscult.disclosure.margins import Margins, small_cells

WITH, WITHOUT = "with", "without"
TIMES = (1, 2, 4)  # the base that numbers are rounded to


@dataclass(frozen=True, kw_only=True, eq=False)
class Effects:
    """Differences between patients with and without each of several factors.

    Attributes
    ----------
    names : tuple of str
    has : bool array, shape (patients, factors)
    inside : bool array, shape (patients,)
        Whom the factors are about.
    weights : float array, shape (patients, factors)
        Of each patient's figure in the difference; 0 outside.
    implied : tuple of bool
        Whether a factor's definition tells how many patients have it.
    """

    names: tuple[str, ...]
    has: NDArray[np.bool_] = field(repr=False)
    inside: NDArray[np.bool_] = field(repr=False)
    weights: NDArray[np.floating] = field(repr=False)
    implied: tuple[bool, ...]

    def over(self, patients: NDArray[np.bool_], size: int) -> Effects:
        """Of some of the patients, with others after them up to a size, whom nothing is about."""
        added = size - int(patients.sum())

        def longer(values: NDArray[Any]) -> NDArray[Any]:
            rest = np.zeros((added, *values.shape[1:]), dtype=values.dtype)
            return np.concatenate([values[patients], rest])

        return Effects(
            names=self.names,
            has=longer(self.has),
            inside=longer(self.inside),
            weights=longer(self.weights),
            implied=self.implied,
        )

    def digest(self, patients: int) -> str:
        """Of who has which factor, among the first so many patients."""
        digest = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogatepass"))
        digest.update(np.packbits(self.has[:patients]).tobytes())
        digest.update(np.packbits(self.inside[:patients]).tobytes())
        return digest.hexdigest()

    def natural(self) -> list[float]:
        """Steps that the differences support, as :func:`rounding_step` is that of a mean."""
        told = self.weights[self.inside].astype(np.float64)
        spread = 0.1 * np.sqrt((told**2).sum(axis=0))
        return [step_of_at_least(float(one)) for one in spread]

    def tables(self) -> dict[str, Table]:
        """Who has each factor: tables without figures."""
        found = {}
        for place, name in enumerate(self.names):
            labels = np.where(self.has[:, place], WITH, WITHOUT).astype(object)
            labels[~self.inside] = ABSENT
            steps = {WITH: np.inf, WITHOUT: np.inf}
            found[name] = Table(labels=labels, steps=steps, poolable=False, counted=True)
        return found


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How a factor is published: its difference to a step, its number of patients to a base."""

    step: float
    base: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Weighted sums that earlier reports published.

    Attributes
    ----------
    weights : float array, shape (patients, sums)
    steps : float64 array, shape (sums,)
    """

    weights: NDArray[np.floating] = field(repr=False)
    steps: NDArray[np.float64]


def release_effects(
    tables: Sequence[Table], effects: Effects, smallest: int, earlier: Sums | None = None
) -> dict[str, Rounding]:
    """Which factors may be published beside tables, and how they are rounded.

    Parameters
    ----------
    tables : sequence of Table
        As they are published, over the same patients as the effects; they stay as they are.
    effects : Effects
    smallest : int
        The smallest cell.
    earlier : Sums, optional

    Returns
    -------
    dict of str to Rounding
        Factors that are left out are not in it.
    """
    told = _countable(tables, effects, smallest)
    for name, table in effects.tables().items():
        if table.small(smallest):
            told.pop(name, None)
    kept = np.array([name in told for name in effects.names], dtype=bool)
    natural = np.array(effects.natural())
    steps = _steps(tables, effects.weights[:, kept], natural[kept], smallest, earlier)
    names = [name for name in effects.names if name in told]
    return {
        name: Rounding(step=float(step), base=told[name])
        for name, step in zip(names, steps, strict=True)
        if step <= COARSEST
    }


def _countable(tables: Sequence[Table], effects: Effects, smallest: int) -> dict[str, int]:
    """Factors with whose numbers every small cell keeps the numbers that it has without them.

    Returns
    -------
    dict of str to int
        What each one's number is rounded to; 1 where it is known anyhow.
    """
    factors = effects.tables()
    bases = {
        name: (1,) if implied else tuple(BASE * times for times in TIMES)
        for name, implied in zip(effects.names, effects.implied, strict=True)
    }
    first = {name: options[0] for name, options in bases.items()}
    if smallest < 2 or not factors:
        return first
    whole = [*tables, *factors.values()]
    atoms = Atoms.of(whole)
    cells = small_cells(whole, atoms, smallest)
    wanted = possible_numbers(smallest)
    place_of = {name: len(tables) + place for place, name in enumerate(factors)}

    def told_by(chosen: Mapping[str, int]) -> Margins:
        for name, base in chosen.items():
            factors[name].base = base
        places = [*range(len(tables)), *(place_of[name] for name in chosen)]
        some = Atoms(sizes=atoms.sizes, codes=[atoms.codes[place] for place in places])
        return Margins([whole[place] for place in places], some, smallest, total=False)

    before = told_by({})
    # What the tables alone tell of a cell is looked at where it has few numbers left.
    needed: dict[int, int] = {}

    def safe(chosen: Mapping[str, int]) -> bool:
        now = told_by(chosen)
        for number, cell in enumerate(cells):
            left = now.possible(cell, wanted)
            if left < wanted:
                if number not in needed:
                    needed[number] = before.possible(cell, wanted)
                if left < needed[number]:
                    return False
        return True

    if safe(first):
        return first
    kept: dict[str, int] = {}
    for name, options in bases.items():
        base = next((one for one in options if safe({**kept, name: one})), None)
        if base is not None:
            kept[name] = base
    return kept


def _steps(
    tables: Sequence[Table],
    weights: NDArray[np.floating],
    natural: NDArray[np.float64],
    smallest: int,
    earlier: Sums | None,
) -> NDArray[np.float64]:
    """Rounding steps with which nobody is bounded too closely; infinite where none is enough."""
    steps = natural.copy()
    if smallest < 2 or not steps.size:
        return steps
    every, known = weights, np.zeros(0)
    if earlier is not None:
        every, known = np.concatenate([weights, earlier.weights], axis=1), earlier.steps
    scale = np.maximum(np.maximum(every.max(axis=0), -every.min(axis=0)).astype(np.float64), 1e-300)
    # Everybody whom a sum weighs is an atom of their own.
    alone = np.flatnonzero((every != 0).any(axis=1))
    own = np.zeros(len(every), dtype=np.int64)
    own[alone] = 1 + np.arange(alone.size)
    atoms, first = _finer(tables, own)
    columns, plain = published(tables, atoms, total=False)
    offset = len(columns)
    cells = np.concatenate([plain.cells, every[first] / scale], axis=1)

    def with_steps() -> tuple[Published, NDArray[np.int64]]:
        told = np.concatenate([steps, known])
        shown = np.flatnonzero(np.isfinite(told))
        error = np.concatenate([plain.error, told[shown] / 2 / scale[shown]])
        kept = np.concatenate([np.arange(offset), offset + shown])
        return Published(cells=cells[:, kept], sizes=atoms.sizes, error=error), shown

    now, shown = with_steps()
    leverage = now.leverage()
    few = (atoms.sizes < smallest) & (leverage > (1 - TOLERANCE) / smallest)
    candidates = np.flatnonzero(few)
    candidates = candidates[~now.assured(candidates, smallest)]
    moved = False
    for atom in candidates[np.argsort(-leverage[candidates], kind="stable")]:
        if moved and now.assured(atom[None], smallest)[0]:
            continue
        while True:
            least, combination = least_uncertainty(now, int(atom), enough=smallest)
            mine = np.abs(combination[offset:]) * (shown < steps.size)
            if least >= smallest * (1 - TOLERANCE) or not (mine > TOLERANCE).any():
                break  # safe, or only what is published anyhow tells
            lacking = 1.01 * (smallest - least)
            wanted = np.full(steps.size, np.inf)
            for place in np.flatnonzero(mine > TOLERANCE):
                at = int(shown[place])
                finer = 2 * scale[at] * (steps[at] / 2 / scale[at] + lacking / mine[place])
                if finer <= COARSEST:
                    wanted[at] = step_of_at_least(finer)
            if np.isfinite(wanted).any():
                at = int(np.argmin(wanted / natural))
                steps[at] = wanted[at]
            else:
                steps[int(shown[int(np.argmax(mine))])] = np.inf
            now, shown = with_steps()
            moved = True
    return steps


def _finer(tables: Sequence[Table], own: NDArray[np.int64]) -> tuple[Atoms, NDArray[np.int64]]:
    """Atoms of tables and of one more code per patient, and the first patient of each."""
    joint = np.zeros(own.size, dtype=np.int64)
    for table in tables:
        _, joint = np.unique(joint * len(table.names) + table.code, return_inverse=True)
        joint = joint.reshape(-1)
    _, first, joint = np.unique(
        joint * (int(own.max(initial=0)) + 1) + own, return_index=True, return_inverse=True
    )
    sizes = np.bincount(joint.reshape(-1))
    return Atoms(sizes=sizes, codes=[table.code[first] for table in tables]), first

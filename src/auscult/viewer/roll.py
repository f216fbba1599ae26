"""All patients of a run as columns: sorted, filtered and paged without copying a row.

A million patients stay usable: an order is computed once per column and kept, a filter is a mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

PER_PAGE = 50
NUMBERS = ("auc", "auc_low", "auc_high", "auc_raw", "records", "above_0.9")
SHOWN = ("all", "above", "confirmed")


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribute:
    """A column of text with few values: a group, or the label.

    Attributes
    ----------
    name : str
    levels : tuple of str
        In ascending order.
    codes : int32 array, shape (patients,)
    """

    name: str
    levels: tuple[str, ...]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, name: str, values: pa.ChunkedArray) -> Attribute:
        """From a column of a table."""
        found = values.cast(pa.string()).combine_chunks().dictionary_encode()
        levels = [str(one) for one in found.dictionary.to_pylist()]
        order = sorted(range(len(levels)), key=levels.__getitem__)
        place = np.empty(len(levels) + 1, dtype=np.int32)
        place[order] = np.arange(len(levels), dtype=np.int32)
        place[-1] = -1
        codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return cls(name=name, levels=tuple(levels[k] for k in order), codes=place[codes])

    def text(self, patient: int) -> str:
        """The value of one patient."""
        code = int(self.codes[patient])
        return self.levels[code] if code >= 0 else ""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the reader asked for: an order, filters and a page.

    Attributes
    ----------
    sort : str
        A column; "-" before it for descending.
    shown : {"all", "above", "confirmed"}
        Whether everybody, whose estimate lies above 0.9, or who is confirmed above it.
    identifier : str
        Part of the identifier; upper and lower case are the same.
    levels : mapping of int to int
        Level asked for by number of the attribute.
    page : int
        From 1.
    """

    sort: str = "-auc"
    shown: str = "all"
    identifier: str = ""
    levels: Mapping[int, int]
    page: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaf:
    """One page of the list.

    Attributes
    ----------
    patients : int64 array
        Numbers of the patients on it, in order.
    found : int
        Patients on all pages.
    page, pages : int
    """

    patients: NDArray[np.int64]
    found: int
    page: int
    pages: int


class Roll:
    """The patients' columns.

    Parameters
    ----------
    identifiers : pyarrow array of str, shape (patients,)
    numbers : mapping of str to float64 array, shape (patients,)
    confirmed : bool array, shape (patients,), or None
        Who is confirmed above 0.9; None in runs that do not say.
    attributes : sequence of Attribute
    """

    def __init__(
        self,
        identifiers: pa.Array,
        numbers: Mapping[str, NDArray[np.float64]],
        confirmed: NDArray[np.bool_] | None,
        attributes: Sequence[Attribute],
    ) -> None:
        self.identifiers = identifiers
        self.numbers = dict(numbers)
        self.confirmed = confirmed
        self.attributes = tuple(attributes)
        self._orders: dict[str, NDArray[np.int64]] = {}
        self._ranks: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.identifiers)

    def __repr__(self) -> str:
        return f"Roll({len(self)} patients, values secret)"

    @property
    def sortable(self) -> tuple[str, ...]:
        """Names of columns that the list can be sorted by."""
        groups = (f"g{k}" for k in range(len(self.attributes)))
        return (*self.numbers, "identifier", *groups)

    def identifier(self, patient: int) -> str:
        """Identifier of one patient."""
        return str(self.identifiers[patient].as_py())

    def rank(self, patient: int) -> int:
        """Place of a patient by estimated AUC, from 1."""
        if self._ranks is None:
            self._ranks = np.empty(len(self), dtype=np.int64)
            self._ranks[self.order("-auc")] = np.arange(1, len(self) + 1)
        return int(self._ranks[patient])

    def order(self, sort: str) -> NDArray[np.int64]:
        """Numbers of all patients by one column; ties in the cohort's order, unknown last."""
        if sort not in self._orders:
            name, descending = sort.removeprefix("-"), sort.startswith("-")
            if name == "identifier":
                way = "descending" if descending else "ascending"
                order = pc.array_sort_indices(self.identifiers, order=way)
                self._orders[sort] = order.to_numpy().astype(np.int64)
            else:
                values = self._values(name)
                self._orders[sort] = np.argsort(-values if descending else values, kind="stable")
        return self._orders[sort]

    def _values(self, name: str) -> NDArray[np.float64]:
        if name in self.numbers:
            return self.numbers[name]
        codes = self.attributes[int(name.removeprefix("g"))].codes.astype(np.float64)
        return np.where(codes < 0, np.nan, codes)

    def mask(self, wish: Wish) -> NDArray[np.bool_] | None:
        """Who fits the filters; None where there are none."""
        parts: list[NDArray[np.bool_]] = []
        if wish.shown == "above":
            parts.append(self.numbers["auc"] > 0.9)
        elif wish.shown == "confirmed" and self.confirmed is not None:
            parts.append(self.confirmed)
        parts += [self.attributes[k].codes == level for k, level in wish.levels.items()]
        if wish.identifier:
            found = pc.match_substring(self.identifiers, wish.identifier, ignore_case=True)
            parts.append(found.to_numpy(zero_copy_only=False).astype(bool))
        return np.logical_and.reduce(parts) if parts else None

    def leaf(self, wish: Wish) -> Leaf:
        """The page that was asked for; the last one where there are fewer."""
        order, mask = self.order(wish.sort), self.mask(wish)
        chosen = order if mask is None else order[mask[order]]
        pages = max(1, -(-len(chosen) // PER_PAGE))
        page = min(max(wish.page, 1), pages)
        start = (page - 1) * PER_PAGE
        return Leaf(
            patients=chosen[start : start + PER_PAGE], found=len(chosen), page=page, pages=pages
        )

"""Tables of groups as they may be published: together, and after what was published before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.progress import SILENT, Progress
from auscult.cohort.cohort import SMALLEST_CELL, record_bands
from auscult.disclosure import (
    ABSENT,
    POOLED,
    Effects,
    Entry,
    Reports,
    Rounding,
    Table,
    as_before,
    fixed_sums,
    fixed_tables,
    other_people,
    raw_digest,
    release_effects,
    release_together,
    round_counts,
)

JOIN = " & "
POOL = "(other groups)"
AND_SMALLER = " and smaller groups"
BANDS, EVERYBODY = "\0bands", "\0everybody"


class ReleasedTable(NamedTuple):
    """A table of groups as it may be published.

    Attributes
    ----------
    labels : object array of str, shape (patients,)
        With pooled groups renamed.
    shown : list of str
        Groups to show, largest first, the pool last.
    pooled : int
        How many groups are not shown by name.
    steps : dict
        Rounding step of each group's figures; infinite where they are withheld.
    base : int
        What numbers of patients are rounded to.
    told : bool
        Whether it may be said how many groups are not shown by name.
    """

    labels: NDArray[Any]
    shown: list[str]
    pooled: int
    steps: dict[str, float]
    base: int
    told: bool = True

    def alone(self, group: str) -> bool:
        """Whether a group is shown on its own, with its figures."""
        return group in self.shown[: -1 if self.pool else None] and np.isfinite(self.steps[group])

    @property
    def pool(self) -> str:
        """Name of the pool; empty where none is shown."""
        last = self.shown[-1] if self.shown else ""
        return last if last == POOL or (last.endswith(AND_SMALLER) and self.pooled) else ""


class Released(NamedTuple):
    """Everything about groups that may be published together.

    Attributes
    ----------
    tables : dict
        One :class:`ReleasedTable` per attribute and intersection, over the usable patients.
    bands : ReleasedTable
        Of the bands of :func:`auscult.cohort.cohort.record_bands`, named by their places.
    step : float
        Rounding step of figures about the whole cohort; 0 where they stay as they are, infinite
        where an earlier report of a cohort that hardly differs leaves no room for them.
    earlier : int
        Reports of some of these patients that were made before.
    alike : bool
        Whether they had the same groups of the same patients, so that nothing had to give way.
    label_alike : bool
        Whether there are such reports and one had the same patients with the same labels.
    effects : dict
        How each factor that may be published is rounded.
    """

    tables: dict[str, ReleasedTable]
    bands: ReleasedTable
    step: float
    earlier: int = 0
    alike: bool = True
    label_alike: bool = False
    effects: Mapping[str, Rounding] = MappingProxyType({})


def released_tables(
    groups: pd.DataFrame,
    usable: NDArray[np.bool_],
    count: NDArray[np.int64],
    *,
    smallest_cell: int = SMALLEST_CELL,
    intersections: tuple[tuple[str, str], ...] = (),
) -> dict[str, ReleasedTable]:
    """Tables of :func:`release_groups`, without the bands of record counts.

    Parameters
    ----------
    groups : DataFrame
        Attributes of all patients.
    usable : bool array, shape (patients,)
        Who has an estimate.
    count : int64 array, shape (patients,)
        Records of each patient.
    smallest_cell : int
    intersections : tuple of pairs of str
        Attributes that are crossed.
    """
    return release_groups(
        groups, usable, count, smallest_cell=smallest_cell, intersections=intersections
    ).tables


def release_groups(
    groups: pd.DataFrame,
    usable: NDArray[np.bool_],
    count: NDArray[np.int64],
    *,
    smallest_cell: int = SMALLEST_CELL,
    intersections: tuple[tuple[str, str], ...] = (),
    reports: Reports | None = None,
    label: str | None = None,
    base: int = 1,
    effects: Effects | None = None,
    progress: Progress = SILENT,
) -> Released:
    """Groups of every attribute and intersection as they may be published together.

    The bands of record counts are checked with them, and what earlier reports said.

    Parameters
    ----------
    groups : DataFrame, shape (patients, attributes)
    usable : bool array, shape (patients,)
        The patients whom the tables are over.
    count : int64 array, shape (patients,)
        Records of each patient.
    smallest_cell : int
    intersections : tuple of pairs of str
    reports : Reports, optional
        The ledger; this report is entered.
    label : str, optional
        Which attribute is that of the label: it may differ between reports on the same people.
    base : int
        What all numbers of patients are rounded to at least; 1 where only those are that give a
        small cell away.
    effects : Effects, optional
        Differences by factors, of all patients: what of them may be published beside the tables.
    progress : Progress, optional

    Returns
    -------
    Released

    Raises
    ------
    StoreError
        The ledger cannot be read or written.
    """
    bands = np.zeros(count.size, dtype=np.int64)
    for number, (_, inside) in enumerate(record_bands(count, smallest_cell)):
        bands[inside] = number
    options = (smallest_cell, intersections, reports, label, base, effects, progress)
    with nullcontext() if reports is None else reports.held():
        return _released(groups, usable, bands, *options)


def _released(
    groups: pd.DataFrame,
    usable: NDArray[np.bool_],
    bands: NDArray[np.int64],
    smallest_cell: int,
    intersections: tuple[tuple[str, str], ...],
    reports: Reports | None,
    label: str | None,
    base: int,
    effects: Effects | None,
    progress: Progress,
) -> Released:
    mine = int(usable.sum())
    known = np.zeros(0, dtype="S1") if reports is None else reports.patients[usable]
    entries = [] if reports is None else _of_the_same(reports, groups, usable, bands, known, label)
    _, others = fixed_tables(entries, known, ()) if entries else ([], known[:0])
    here = np.arange(mine + others.size) < mine
    if effects is not None:
        effects = effects.over(usable, here.size)

    def over(values: NDArray[Any], **options: Any) -> Table:  # noqa: ANN401
        labels = np.full(here.size, ABSENT, dtype=object)
        labels[:mine] = values[usable]
        return Table(labels=labels, **options)

    everybody = np.full(bands.size, "all", dtype=object)
    rest = {
        BANDS: over(bands.astype(str), poolable=False),
        EVERYBODY: over(
            everybody, poolable=False, rounded=False, weight=5, fixed=not entries, counted=True
        ),
    }
    found = {
        str(name): over(groups[name].astype(str).to_numpy(dtype=object)) for name in groups.columns
    }
    crossed = [f"{first}{JOIN}{second}" for first, second in intersections]
    made_of, own = _made_of(
        reports, entries, {**found, **rest}, here, known, [*crossed, str(base)], smallest_cell
    )
    looks = [one for one in entries if one.content["made_of"] == made_of]
    of_others = [one for one in entries if one not in looks]
    standing = [one for one in entries if one not in looks or one.stands]
    earlier = fixed_tables(entries, known, of_others)[0] if of_others else []
    if own is None:
        _as_before(standing, {**found, **rest}, here, known)
        # The attributes first: what is pooled in them is pooled where they are crossed.
        release_together(
            [*found.values(), *rest.values(), *earlier],
            smallest_cell,
            total=False,
            progress=progress,
        )
    else:
        _apply(own, {**found, **rest}, smallest_cell)
    for name, (first, second) in zip(crossed, intersections, strict=True):
        found[name] = found[first].crossed(found[second], JOIN, weight=0.5)
    tables = {**found, **rest}
    if own is None:
        _as_before(standing, {name: found[name] for name in crossed}, here, known)
        if intersections:
            release_together(
                [*tables.values(), *earlier], smallest_cell, total=False, progress=progress
            )
        for table in tables.values():
            table.base = max(table.base, base)
        while round_counts(
            [*tables.values(), *earlier], smallest_cell, total=False, progress=progress
        ):
            release_together(
                [*tables.values(), *earlier], smallest_cell, total=False, progress=progress
            )
    else:
        _apply(own, tables, smallest_cell)
    # A run that grew has other factors: this report takes the place of its own earlier ones, and
    # is held against those of others.
    factors = "" if effects is None else effects.digest(mine)
    same = [one for one in looks if one.stands and one.content.get("factors", "") == factors]
    roundings: dict[str, Rounding] = same[-1].effects() if same else {}
    if not same and effects is not None:
        # They give way to the tables, which are as they would be without them.
        sums = fixed_sums(of_others, np.concatenate([known, others])) if of_others else None
        roundings = release_effects([*tables.values(), *earlier], effects, smallest_cell, sums)
    if not same and reports is not None:
        reports.record(made_of, usable, tables, here, effects, roundings, of_others)
    named = {name: _named(table, smallest_cell, mine) for name, table in tables.items()}
    before = len(entries) if own is None else next(i for i, e in enumerate(entries) if e is own)
    return Released(
        bands=named.pop(BANDS),
        step=named.pop(EVERYBODY).steps["all"],
        tables=named,
        earlier=before,
        alike=_alike(entries[:before], tables, here, known),
        label_alike=label in found
        and before > 0
        and _alike(entries[:before], {label: found[label]}, here, known),
        effects=roundings,
    )


def _alike(
    entries: Sequence[Entry],
    tables: Mapping[str, Table],
    here: NDArray[np.bool_],
    known: NDArray[np.bytes_],
) -> bool:
    """Whether every table was in an earlier report, patient by patient."""
    said = {one["raw"] for entry in entries for one in entry.content["tables"].values()}
    return not entries or all(raw_digest(one, here, known) in said for one in tables.values())


def _of_the_same(
    reports: Reports,
    groups: pd.DataFrame,
    usable: NDArray[np.bool_],
    bands: NDArray[np.int64],
    known: NDArray[np.bytes_],
    label: str | None,
) -> list[Entry]:
    """Earlier reports that share patients with this one, and not only identifiers."""
    entries = reports.entries(usable)
    if not entries:
        return []
    names = {str(name): groups[name] for name in groups.columns}
    codes = {
        name: pd.factorize(values.astype(str).to_numpy(dtype=object)[usable])[0].astype(np.int64)
        for name, values in names.items()
    }
    codes[BANDS] = bands[usable]
    own = {name for name in names if name != label}
    return [one for one in entries if not other_people(one, known, codes, own)]


def _made_of(
    reports: Reports | None,
    entries: Sequence[Entry],
    tables: Mapping[str, Table],
    here: NDArray[np.bool_],
    known: NDArray[np.bytes_],
    crossed: Sequence[str],
    smallest: int,
) -> tuple[str, Entry | None]:
    """Digest of what a report is made of, and its own entry where it was made before."""
    if reports is None:
        return "", None
    raw = {name: raw_digest(table, here, known) for name, table in tables.items()}
    made_of = hashlib.sha256(
        json.dumps([reports.run, raw, list(crossed), smallest]).encode()
    ).hexdigest()
    # Where a report that it was held against was taken out, it is made anew.
    own = [one for one in entries if one.content["made_of"] == made_of and one.stands]
    return made_of, own[0] if own else None


def _apply(own: Entry, tables: Mapping[str, Table], smallest: int) -> None:
    for name, table in tables.items():
        table.smallest = smallest
        if name in own.content["tables"]:
            as_before(table, own.content["tables"][name])


def _as_before(
    entries: Sequence[Entry],
    tables: Mapping[str, Table],
    here: NDArray[np.bool_],
    known: NDArray[np.bytes_],
) -> None:
    """The same groups of the same patients are shown as they were."""
    if not entries:
        return
    said = {one["raw"]: one for entry in entries for one in entry.content["tables"].values()}
    for table in tables.values():
        if (one := said.get(raw_digest(table, here, known))) is not None:
            as_before(table, one)


def _named(table: Table, smallest: int, patients: int) -> ReleasedTable:
    """Labels with the pool's name, groups shown and how many groups are pooled."""
    ranked = sorted(
        (name for name in table.names if name != ABSENT),
        key=lambda name: (-table.sizes[name], name),
    )
    shown = [name for name in ranked if name not in table.hidden and table.sizes[name] >= smallest]
    steps = {row.key: table.step(row) for row in table.rows()}
    labels = np.array(table.names, dtype=object)[table.code]
    if not table.hidden:
        return ReleasedTable(labels[:patients], shown, 0, steps, table.base)
    joined = [name for name in ranked if name in table.hidden and table.sizes[name] >= smallest]
    pool = f"{joined[0]}{AND_SMALLER}" if len(joined) == 1 else POOL
    labels[np.isin(table.code, [i for i, n in enumerate(table.names) if n in table.hidden])] = pool
    if table.held() >= smallest:
        shown.append(pool)
        steps[pool] = steps.pop(POOLED)
    return ReleasedTable(labels[:patients], shown, len(table.hidden), steps, table.base, table.told)

"""A second table beside the first: columns of one row per key, or features of many rows per key.

Rows of the first table are never dropped nor doubled by a join: without a match their new columns
are missing (or counts of 0). Unmatched rows of both sides are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import CohortError
from auscult.readers.columns import MAX_LEVELS, MIN_LEVEL_PATIENTS, RARE
from auscult.readers.doubts import folded
from auscult.readers.tables import TYPED, Kept, read_table, require_columns, told, with_types
from auscult.readers.values import numbers, texts

STATISTICS = ("mean", "min", "max", "sum", "last")


@dataclass(frozen=True, kw_only=True)
class Join:
    """How a second table is joined.

    Attributes
    ----------
    table : path-like or dataframe
    on : str
        Column of the first table.
    to : str, optional
        Column of the second, of the same name by default.
    columns : sequence of str, optional
        Which of its columns to bring; all by default, where none of the following is given.
    count : sequence of str
        Columns whose values are counted: one feature per value, and rows of the second table may
        share a key. Values beyond the `max_levels` most common, and those that fewer than
        `min_level_patients` patients have, are counted together as "(rare)".
    mean, min, max, sum, last : sequence of str
        Numeric columns to summarise over the rows of a key, in the order of the table.
    """

    table: Any
    on: str
    to: str | None = None
    columns: Sequence[str] | None = None
    count: Sequence[str] = ()
    mean: Sequence[str] = ()
    min: Sequence[str] = ()
    max: Sequence[str] = ()
    sum: Sequence[str] = ()
    last: Sequence[str] = ()

    def statistics(self) -> dict[str, Sequence[str]]:
        """Columns by statistic, without the empty ones."""
        return {name: getattr(self, name) for name in STATISTICS if getattr(self, name)}

    @classmethod
    def of(cls, how: Join | Mapping[str, Any]) -> Join:
        """A join from keywords.

        Raises
        ------
        CohortError
            A keyword is unknown or missing.
        """
        if isinstance(how, Join):
            return how
        try:
            return cls(**how)
        except TypeError as error:
            raise CohortError(
                "the keywords of a join are wrong",
                where="cohort.join",
                expected=f"table and on, and any of to, columns, count, {', '.join(STATISTICS)}",
            ) from error


def join_table(
    frame: pd.DataFrame,
    how: Join,
    *,
    patient: str | None,
    missing: Sequence[str] = (),
    max_levels: int = MAX_LEVELS,
    min_level_patients: int = MIN_LEVEL_PATIENTS,
    read: Callable[[Any], pd.DataFrame] = read_table,
) -> tuple[pd.DataFrame, list[str]]:
    """Columns of a second table beside the first one's rows.

    Parameters
    ----------
    frame : DataFrame
        The first table.
    how : Join
    patient : str, optional
        Column of the first table whose values are patients; its key is taken for them where None.
    missing : sequence of str
        Values that mean missing.
    max_levels, min_level_patients : int
        See :class:`Join`.
    read : callable
        How the second table is read.

    Returns
    -------
    joined : DataFrame
        As many rows as `frame`, in its order.
    notes : list of str
        Rows without a match, on both sides.

    Raises
    ------
    CohortError
        A column is missing or there twice, several rows share a key though they are not
        summarised, or no row has a match.
    """
    other = read(how.table)
    name = Path(how.table).name if isinstance(how.table, str | Path) else "the joined table"
    key = how.to or how.on
    require_columns(frame, [("cohort.join.on", how.on)], "table")
    summarised = bool(how.count or how.statistics())
    wanted = [
        ("cohort.join.to" if how.to else "cohort.join.on", key),
        *(("cohort.join.columns", column) for column in how.columns or ()),
        *(("cohort.join.count", column) for column in how.count),
        *(
            (f"cohort.join.{s}", column)
            for s, names in how.statistics().items()
            for column in names
        ),
    ]
    require_columns(other, wanted, name)
    if summarised and how.columns is not None:
        raise CohortError(
            "columns requires one row per key, and count and the like many",
            where="cohort.join",
            next_step="Join the table twice",
        )
    place, matched, used = _match(texts(frame[how.on]), texts(other[key]), name)
    if summarised:
        owner = texts(frame[patient]) if patient in frame.columns else texts(frame[how.on])
        new = _summaries(
            other,
            used,
            len(place),
            how,
            missing,
            _Pool(place, owner, max_levels, min_level_patients),
        )
        brought = new.iloc[np.where(matched, place, 0)].reset_index(drop=True)
        brought = brought.astype(float)
        counts = [column for column in brought.columns if " = " in str(column)]
        brought.loc[~matched, :] = np.nan
        brought.loc[~matched, counts] = 0.0
    else:
        brought = _beside(other, used, place, matched, how, key, name)
    double = [str(column) for column in brought.columns if column in frame.columns]
    if double:
        raise CohortError(
            f'both tables have a column "{double[0]}"',
            where=f"cohort.join, {name}",
            expected="names that differ",
            next_step="Name the columns to add: columns = [...]",
        )
    brought.index = frame.index
    unmatched = int((~matched).sum())
    idle = int((used < 0).sum())
    note = (
        f"{name}: joined on {how.on}; {unmatched:,} of {len(frame):,} rows have no match in it, "
        f"{idle:,} of its {len(other):,} rows match none"
    )
    if unmatched and idle:
        _refuse_spellings(texts(frame[how.on])[~matched], texts(other[key])[used < 0], name)
    joined = pd.concat([frame, brought], axis=1)
    theirs = {*with_types(other)} & {*brought.columns}
    joined.attrs[TYPED] = Kept([*with_types(frame), *sorted(theirs)])
    return joined, [*told(other), note]


def _refuse_spellings(mine: NDArray[np.object_], theirs: NDArray[np.object_], name: str) -> None:
    """Raise where keys without a match differ in spelling alone from others without one."""
    wanted = {folded(str(one)) for one in theirs.tolist() if one is not None}
    near = sum(one is not None and folded(str(one)) in wanted for one in mine.tolist())
    if near:
        raise CohortError(
            f"{near:,} rows would have a match if capitals, spaces and leading zeros were the same "
            "in both tables",
            where=f"cohort.join, {name}",
            expected="keys written in the same way in both tables",
            next_step="Write them in one way; spreadsheets drop leading zeros",
        )


def _match(
    mine: NDArray[np.object_], theirs: NDArray[np.object_], name: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Keys as numbers: of each row of the first table, whether it is matched, of each of the other.

    The last is -1 where the first table lacks the key.
    """
    codes, keys = pd.factorize(mine)
    used = pd.Index(keys).get_indexer(pd.Index(theirs))
    used[theirs == None] = -1  # noqa: E711 - elementwise
    there = np.zeros(len(keys) + 1, dtype=bool)
    there[used[used >= 0]] = True
    matched = there[codes] & (codes >= 0)
    if not matched.any():
        _refuse_spellings(mine, theirs, name)
        raise CohortError(
            "no row of the table has a match",
            where=f"cohort.join, {name}",
            expected="keys written in the same way in both tables",
        )
    return codes.astype(np.int64), matched, used.astype(np.int64)


def _beside(
    other: pd.DataFrame,
    used: NDArray[np.int64],
    place: NDArray[np.int64],
    matched: NDArray[np.bool_],
    how: Join,
    key: str,
    name: str,
) -> pd.DataFrame:
    shared = int(pd.Series(used[used >= 0]).duplicated(keep=False).sum())
    if shared:
        raise CohortError(
            f"{shared} rows share their key with another row",
            where=f"{name}, column {key}",
            expected="one row per key",
            next_step=f"Summarise them: count, {', '.join(STATISTICS)} under cohort.join",
        )
    columns = [c for c in other.columns if c != key] if how.columns is None else [*how.columns]
    row_of_key = np.full(int(place.max()) + 2, -1, dtype=np.int64)
    row_of_key[used[used >= 0]] = np.flatnonzero(used >= 0)
    rows = np.where(matched, row_of_key[place], -1)
    return other[columns].reindex(rows).reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class _Pool:
    """Which values are rare: counted in patients, as categories of a table are."""

    place: NDArray[np.int64]
    owner: NDArray[np.object_]
    max_levels: int
    min_level_patients: int

    def kept(self, keys: NDArray[np.int64], values: NDArray[np.object_]) -> list[str]:
        owners = pd.DataFrame({"key": self.place, "owner": self.owner}).dropna().drop_duplicates()
        pairs = pd.DataFrame({"key": keys, "value": values}).drop_duplicates()
        holders = pairs.merge(owners, on="key")[["value", "owner"]].drop_duplicates()
        counts = holders["value"].value_counts()
        order = sorted(counts.index, key=lambda value: (-counts[value], value))[: self.max_levels]
        return sorted(v for v in order if counts[v] >= self.min_level_patients and v != RARE)


def _summaries(
    other: pd.DataFrame,
    used: NDArray[np.int64],
    keys: int,
    how: Join,
    missing: Sequence[str],
    pool: _Pool,
) -> pd.DataFrame:
    """One row per key of the first table: counts of values, and statistics of numbers."""
    size = int(pool.place.max()) + 1 if keys else 0
    features: dict[str, NDArray[np.float64]] = {}
    for column in how.count:
        values = texts(other[column], missing)
        inside = (used >= 0) & (values != None)  # noqa: E711 - elementwise
        at, found = used[inside], values[inside]
        kept = pool.kept(at, found)
        number = pd.Index([*kept, RARE]).get_indexer(pd.Index(found))
        number[number < 0] = len(kept)
        table = np.zeros((size, len(kept) + 1))
        np.add.at(table, (at, number), 1.0)
        for j, level in enumerate([*kept, RARE]):
            features[f"{column} = {level}"] = table[:, j]
    for statistic, columns in how.statistics().items():
        for column in columns:
            numeric, wrong = numbers(other[column], missing)
            if wrong:
                raise CohortError(
                    f"{wrong} values are not numbers",
                    where=f"cohort.join.{statistic}, column {column}",
                    expected="numbers, or missing",
                )
            inside = (used >= 0) & ~np.isnan(numeric)
            grouped = pd.Series(numeric[inside]).groupby(used[inside])
            summary = getattr(grouped, statistic)()
            features[f"{column} {statistic}"] = summary.reindex(range(size)).to_numpy()
    return pd.DataFrame(features, index=range(size))


def joins_of(how: Any) -> tuple[Join, ...]:  # noqa: ANN401
    """One join, several or none."""
    if how is None:
        return ()
    several = [how] if isinstance(how, Join | Mapping) else list(how)
    return tuple(Join.of(one) for one in several)

"""Random reports, and pairs of them, set against themselves by a slow solver of its own.

    python -m benchmarks.disclosure [--reports 200] [--pairs 100] [--state DIR] [--seconds S]

Every report has nested and crossed attributes with small groups; every pair is of overlapping
cohorts whose groups moved. An independent programme (one variable per patient, scipy's simplex)
tries to bound patients from the released rows. Exit code 1 where one is bounded more closely than
the smallest cell allows, or where a small number of patients follows from those published.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linprog

from auscult.disclosure import Reports
from auscult.risk.released import Released, release_groups
from benchmarks.results import record, table
from benchmarks.slices import arguments, in_slices, kept

CELL = 10
Rows = list[tuple[NDArray[np.int64], float, int]]
"""Identifiers that a total is over, the step of its mean, and the base of its count."""


def rows_of(found: Released, ids: NDArray[np.int64]) -> Rows:
    """Every published total of a report."""
    rows: Rows = [(ids, found.step, 1)] if np.isfinite(found.step) else []
    for one in [*found.tables.values(), found.bands]:
        for group in one.shown:
            if np.isfinite(one.steps[group]):
                rows.append((ids[one.labels == group], one.steps[group], one.base))
    return rows


def closest(rows: Rows, ids: NDArray[np.int64], tried: Iterable[int]) -> float:
    """The least uncertainty about any of the patients tried, in patients."""
    matrix = np.array([np.isin(ids, who) for who, _, _ in rows], dtype=float)
    error = np.array([who.size * step / 2 for who, step, _ in rows])
    least = np.inf
    for one in tried:
        place = int(np.flatnonzero(ids == one)[0])
        cost = np.zeros(ids.size)
        cost[place] = -1
        bounds = [(None, None) if i == place else (-1, 1) for i in range(ids.size)]
        found = linprog(
            cost,
            A_ub=np.vstack([matrix, -matrix]),
            b_ub=np.concatenate([error, error]),
            bounds=bounds,
            method="highs-ds",
        )
        least = min(least, np.inf if found.status == 3 else 1 - float(found.fun or 0.0))
    return float(least)


def counts_follow(rows: Rows, ids: NDArray[np.int64], groups: pd.DataFrame) -> bool:
    """Whether the number of a small group is a combination of numbers published as they are."""
    exact = np.array([np.isin(ids, who) for who, _, base in rows if base == 1], dtype=float)
    for name in groups.columns:
        for group, size in groups[name].value_counts().items():
            if size < CELL:
                cell = (groups[name] == group).to_numpy(dtype=float)
                weights = np.linalg.lstsq(exact.T, cell, rcond=None)[0]
                if np.abs(exact.T @ weights - cell).max() < 1e-6:
                    return True
    return False


def attributes(rng: np.random.Generator, people: int) -> pd.DataFrame:
    """Hospitals within regions, a skewed sex, age bands: nested and crossed, some groups small."""
    weights = rng.dirichlet(np.full(7, 0.6))
    hospital = rng.choice(7, people, p=weights)
    share = rng.choice([0.01, 0.03, 0.2])
    return pd.DataFrame(
        {
            "region": (hospital // 3).astype(str),
            "hospital": hospital.astype(str),
            "sex": rng.choice(["f", "m", "x"], people, p=[(1 - share) / 2, (1 - share) / 2, share]),
            "age": (rng.integers(20, 90, people) // rng.integers(8, 30)).astype(str),
        }
    )


PAIRS = (("region", "sex"), ("hospital", "sex"), ("sex", "age"))


def make(
    groups: pd.DataFrame,
    ids: NDArray[np.int64],
    count: NDArray[np.int64],
    reports: Reports | None = None,
) -> Released:
    """One report."""
    everybody = np.ones(ids.size, dtype=bool)
    return release_groups(
        groups, everybody, count, smallest_cell=CELL, intersections=PAIRS, reports=reports
    )


def most_at_risk(
    rng: np.random.Generator, groups: Sequence[pd.DataFrame], ids: NDArray[np.int64], number: int
) -> NDArray[np.int64]:
    """Patients in the smallest combinations of groups, and a few others."""
    joined = pd.concat(
        [g.reindex(range(ids.size)).add_suffix(str(i)) for i, g in enumerate(groups)], axis=1
    )
    size = joined.groupby(list(joined.columns), dropna=False)[joined.columns[0]].transform("size")
    return ids[np.argsort(size.fillna(1).to_numpy() + rng.random(ids.size) / 2)[:number]]


def single(rng: np.random.Generator, *, patients: int = 12) -> tuple[float, bool]:
    """One random report: the least uncertainty found, and whether a small count follows."""
    people = int(rng.integers(60, 220))
    ids = np.arange(people)
    groups = attributes(rng, people)
    count = 1 + rng.poisson(rng.choice([0.0, 1.0]), people)
    found = make(groups, ids, count)
    rows = rows_of(found, ids)
    tried = most_at_risk(rng, [groups], ids, patients)
    return closest(rows, ids, tried), counts_follow(rows, ids, groups)


def pair(rng: np.random.Generator, folder: Path, *, patients: int = 12) -> float:
    """Two reports: groups moved, patients came and went. The least uncertainty found."""
    people = int(rng.integers(80, 220))
    ids = np.arange(people)
    groups = attributes(rng, people)
    moved = groups.copy()
    for name in ("age", "hospital"):
        who = rng.choice(people, int(rng.integers(1, 4)), replace=False)
        moved.loc[who, name] = rng.choice(groups[name].unique(), who.size)
    leaves = rng.random(people) < rng.choice([0.0, 0.01, 0.2])
    one = np.ones(people, dtype=np.int64)
    first = make(groups, ids, one, reports=Reports.open(folder, "first", ids.tolist()))
    here = ids[~leaves]
    second = make(
        moved[~leaves].reset_index(drop=True),
        here,
        one[~leaves],
        reports=Reports.open(folder, "second", here.tolist()),
    )
    rows = [*rows_of(first, ids), *rows_of(second, here)]
    changed = ids[(groups != moved).any(axis=1).to_numpy() | leaves][:patients]
    tried = np.unique(np.r_[changed, most_at_risk(rng, [groups, moved], ids, patients)])
    return closest(rows, ids, tried)


def one_report(number: int) -> dict[str, Any]:
    """One random report: the least uncertainty found, and whether a small count follows."""
    least, follows = single(np.random.default_rng([20, number]))
    return {"least": least, "follows": follows}


def one_pair(number: int) -> float:
    """One pair of reports: the least uncertainty found."""
    with tempfile.TemporaryDirectory() as folder:
        return pair(np.random.default_rng([21, number]), Path(folder))


def main() -> int:
    """Run the campaign, or a slice of it."""
    options = arguments(reports=200, pairs=100)
    found = in_slices(kept(options, "random"), options.reports, one_report, options.seconds)
    between = in_slices(kept(options, "random-pairs"), options.pairs, one_pair, options.seconds)
    least = [one["least"] for one in found.values()]
    follow = sum(one["follows"] for one in found.values())
    close = list(between.values())
    rows = []
    for name, these, told in (("reports", least, str(follow)), ("pairs", close, "")):
        low = sum(one < CELL * (1 - 1e-3) for one in these)
        rows.append((name, len(these), f"{min(these, default=np.inf):.2f}", low, told))
    columns = ("set", "done", "least uncertainty, patients", "below 10", "small counts that follow")
    text = table(columns, rows)
    print(text)
    if len(found) == options.reports and len(between) == options.pairs:
        command = (
            f"python -m benchmarks.disclosure --reports {options.reports} --pairs {options.pairs}"
        )
        record("disclosure", "Random tables against another solver", command, text)
    return int(any(row[3] for row in rows) or follow > 0)


if __name__ == "__main__":
    sys.exit(main())

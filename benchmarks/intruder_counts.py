"""What an intruder finds out about small numbers of patients, in one report or in several."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from benchmarks.disclosure import CELL

POSSIBLE = 5
"""As many numbers as rounding to 5 leaves."""
_FAR = 1e6
_LIMIT_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """A report that the intruder has, with what he knows of its patients.

    Attributes
    ----------
    run : Path
    who : bool array, shape (patients,)
        Which of all patients it is about.
    groups : DataFrame
        Groups of all patients, as this report has them.
    factors : tuple
        Name of each published factor, who has it, and the least and the largest number of them.
    """

    run: Path
    who: NDArray[np.bool_]
    groups: pd.DataFrame
    factors: tuple[tuple[str, NDArray[np.bool_], int, int], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """That so many patients are in a set of them: ends included."""

    inside: NDArray[np.bool_]
    least: float
    most: float
    everybody: bool = False


def labels_of(groups: pd.DataFrame, name: str) -> NDArray[np.str_]:
    """Group of each patient in a table, or in the crossing of two."""
    parts = [groups[one].to_numpy(dtype=str) for one in name.split(" & ")]
    made = parts[0]
    for part in parts[1:]:
        made = np.char.add(np.char.add(made, " & "), part)
    return made


def inside(labels: NDArray[np.str_], rows: Iterable[str], group: str) -> NDArray[np.bool_]:
    """Who is in a row of a table: a pool is whoever is in no other row."""
    named = [row for row in rows if row != "(other groups)" and " and smaller groups" not in row]
    return labels == group if group in named else ~np.isin(labels, named)


def published_numbers(report: Read) -> list[Said]:
    """Every number of patients that a report gives, and what its form gives away.

    Groups that are shown reach the smallest cell; those that are in no row and no pool together do
    not, and are as many as is said; a figure's rounding says how many patients support it.
    """
    summary = json.loads((report.run / "results" / "summary.json").read_text())
    base = summary["patients"].get("count_rounded_to", 1)
    all_of_them = _rounded(report.who, summary["patients"]["estimable"], base)
    found = [replace(all_of_them, everybody=True)]
    for name, entry in summary["disparities"].items():
        labels = labels_of(report.groups, name)
        base = entry["suppressed"].get("counts_rounded_to", 1)
        left = report.who.copy()
        for group, row in entry["groups"].items():
            patients = inside(labels, entry["groups"], group) & report.who
            left &= ~patients
            one = _rounded(patients, row["patients"], base)
            step = row.get("rounded_to")
            least = max(one.least, CELL, np.ceil(0.01 / step**2 * (1 - 1e-9)) if step else 0)
            found.append(Said(inside=patients, least=least, most=one.most))
        if left.any():  # of those who are in a pool that is shown it is no number
            hidden = entry["suppressed"].get("groups")
            found.append(Said(inside=left, least=hidden or 0, most=CELL - 1))
    for _, has, least, most in report.factors:
        found.append(Said(inside=has, least=least, most=most))
    return found


def _rounded(inside: NDArray[np.bool_], number: int, base: int) -> Said:
    return Said(inside=inside, least=number - base // 2, most=number + (base - 1) // 2)


def small_cells(reports: Sequence[Read]) -> list[str]:
    """Small numbers that follow more closely than rounding to 5 allows, from all reports together.

    One whole variable per combination of groups and reports that somebody is in: who is in none is
    taken as known. Asked for are groups under the smallest cell, and who is in one report only, or
    in another group in each of two, within a group or not. Nobody's being there does not count as
    a possible number, and only as many numbers are asked for as the last report could leave: he
    has those before it, and the number of everybody.

    Parameters
    ----------
    reports : sequence of Read
        All over the same patients.
    """
    said = [one for report in reports for one in published_numbers(report)]
    wanted: dict[str, NDArray[np.bool_]] = {}
    for number, report in enumerate(reports):
        for name in json.loads((report.run / "results" / "summary.json").read_text())[
            "disparities"
        ]:
            labels = labels_of(report.groups, name)
            for group in sorted(set(labels[report.who])):
                wanted[f"{number}: {name} = {group}"] = (labels == group) & report.who
    for (i, first), (j, second) in itertools.combinations(enumerate(reports), 2):
        for who, what in (
            (first.who & ~second.who, f"only in {i}"),
            (second.who & ~first.who, f"only in {j}"),
        ):
            wanted[what] = who
            groups = first.groups if what == f"only in {i}" else second.groups
            for name in groups.columns:
                labels = groups[name].to_numpy(dtype=str)
                wanted |= {
                    f"{what}, {name} = {g}": who & (labels == g) for g in sorted(set(labels))
                }
        for name in set(first.groups.columns) & set(second.groups.columns):
            before, after = (r.groups[name].to_numpy(dtype=str) for r in (first, second))
            both = first.who & second.who
            for one, other in sorted(set(zip(before[both], after[both], strict=True))):
                wanted[f"{name}: {one}, then {other}"] = both & (before == one) & (after == other)
        for (name, has, _, _), (other, then, _, _) in itertools.product(
            first.factors, second.factors
        ):
            if name == other:
                wanted[f"{name}: has, then has not"] = has & ~then
                wanted[f"{name}: has not, then has"] = then & ~has
    for number, report in enumerate(reports):
        for name, has, _, _ in report.factors:
            for column in report.groups.columns:
                labels = report.groups[column].to_numpy(dtype=str)
                for group in sorted(set(labels)):
                    wanted[f"{number}: {column} = {group}, {name}"] = has & (labels == group)
    cells = {what: cell for what, cell in wanted.items() if 0 < cell.sum() < CELL}
    if not cells:
        return []
    kinds = np.array([*(one.inside for one in said), *cells.values()]).T
    combinations, sizes = np.unique(kinds, axis=0, return_counts=True)
    matrix = combinations[:, : len(said)].T.astype(float)
    limits = LinearConstraint(matrix, [one.least for one in said], [one.most for one in said])
    anyhow = [
        place
        for place, one in enumerate(said)
        if one.everybody or place < len(said) - len(published_numbers(reports[-1]))
    ]
    known = LinearConstraint(
        matrix[anyhow],
        [said[place].least for place in anyhow],
        [said[place].most for place in anyhow],
    )
    follows = []
    for place, (what, cell) in enumerate(cells.items()):
        own = combinations[:, len(said) + place].astype(float)
        low, high = _range(own, limits, sizes)
        if high - max(low, 1) + 1 < POSSIBLE:
            # That two came is known from the numbers of everybody, and what was from before.
            least, most = _range(own, known, sizes)
            if high - max(low, 1) + 1 >= most - max(least, 1) + 1:
                continue
            follows.append(f"{what}: {low:.0f} to {high:.0f}, {int(cell.sum())} in truth")
    return follows


def _range(
    own: NDArray[np.float64], limits: LinearConstraint, sizes: NDArray[np.int64]
) -> tuple[float, float]:
    """Least and largest number in a cell; what the solver could not prove is taken as possible."""
    ends = []
    for side in (1.0, -1.0):
        found = milp(
            side * own,
            constraints=[limits],
            bounds=Bounds(0, _FAR),
            integrality=np.ones(own.size, dtype=np.int64),
            options={"time_limit": _LIMIT_SECONDS},
        )
        if found.status == 2:
            raise AssertionError("no table agrees with what is published: the intruder errs")
        bound = found.mip_dual_bound if found.mip_dual_bound is not None else -_FAR
        # A bound that is proved; a better one may be there.
        ends.append(side * np.ceil(bound - 1e-6))
    low, high = ends
    if not low <= int(sizes @ own) <= high:
        raise AssertionError(f"{low} to {high} does not hold the truth: the intruder errs")
    return float(low), float(high)


def counted(run: Path) -> list[str]:
    """Small numbers of patients that follow from counts at thresholds, shares and residuals."""
    summary = json.loads((run / "results" / "summary.json").read_text())
    patients = summary["patients"]
    n = patients["estimable"]
    found = []
    for name in ("confirmed", "raw", "study"):
        rows = patients["exposed"].values()
        counts = [row[name] for row in rows if row[name] is not None]
        shares = [v * n for v in patients["survival"].get(name) or [] if v is not None]
        whole = sorted({round(c) for c in (*counts, *shares) if abs(c - round(c)) < 0.05})
        exact = [(a, b) for a, b in itertools.pairwise([0, *whole, n]) if 0 < b - a < CELL]
        if exact and not patients.get("counts_rounded_to"):
            found.append(f"{name}: {exact[0][1] - exact[0][0]} between two thresholds")
        if exact and any(b - a < 5 and b != n for a, b in exact):
            found.append(f"{name}: rounded to less than 5")
    for row in patients["by_records"]:
        for name in ("raw_exposed_0.9", "study_exposed_0.9"):
            step = row["rounded_to"]
            if row.get(name) is None or step is None or row["patients"] * step >= 1:
                continue
            above = round(row[name] * row["patients"])
            if min(abs(above), abs(row["patients"] - above)) in range(1, CELL):
                found.append(f"{name} of {row['records']} records: {above} of {row['patients']}")
    for name, entry in summary["disparities"].items():
        top = (entry.get("composition") or {}).get("patients") or 0
        for group, one in ((entry.get("composition") or {}).get("groups") or {}).items():
            number = entry["groups"][group]["patients"]
            expected = top * number / n
            if one["residual"] is None:
                continue
            fits = [
                c
                for c in range(min(top, number) + 1)
                if abs((c - expected) / np.sqrt(expected) - one["residual"])
                <= 0.25 + 4 / np.sqrt(expected)
            ]
            if fits and max(fits) < CELL and len(fits) < 4 and max(fits) > 0:
                found.append(f"top of {name} = {group}: {fits}")
    return found

"""Whole reports, read by an intruder who knows everything but the figures.

    python -m benchmarks.intruder [--reports 200] [--pairs 100] [--state DIR] [--seconds S]

Each report is made by `import` from simulated scores of a small cohort with nested and crossed
attributes. The intruder reads its files only, knows who is in which group and how many records each
patient has, and asks linear programmes of his own (one variable per patient, scipy's simplex; one
per combination of groups for numbers of patients):

- Is a patient's AUC bounded more closely than the mean of so many patients as the smallest cell
  would? He has every mean of every table, of both reports of a pair, with its rounding.
- Is a small number of patients bounded more closely than rounding to 5 allows? He has every number,
  every share times its number, and the residuals of the most exposed patients.

A pair is two reports of one ledger: a patient more or less, an age cut moved by a year, a site
renamed, an attribute added. With `--state`, a later call goes on. Exit code 1 where something
follows.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linprog

from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz
from auscult.results.analysis import AnalysisSettings
from benchmarks.disclosure import CELL, most_at_risk
from benchmarks.results import record, table
from benchmarks.slices import arguments, in_slices, kept

MODELS, SITES = 16, 7
CROSSED = (("region", "sex"), ("site", "sex"), ("sex", "age"))
KINDS = ("patient leaves", "patient comes", "age cut moves", "site renamed", "attribute added")
LOOSE = 1e-3
Row = tuple[NDArray[np.float64], float]
"""Coefficients over all patients, in patients, and the largest rounding error, in patients."""


class Cohort:
    """Simulated patients, their attributes and scores.

    Parameters
    ----------
    rng : numpy.random.Generator
    """

    def __init__(self, rng: np.random.Generator) -> None:
        people = int(rng.integers(60, 200))
        site = rng.choice(SITES, people, p=rng.dirichlet(np.full(SITES, 0.6)))
        rare = rng.choice([0.01, 0.03, 0.2])
        self.ids = np.array([f"P{i:04d}" for i in range(people)])
        self.years = rng.integers(20, 90, people)
        self.count = 1 + rng.poisson(rng.choice([0.0, 0.7]), people)
        self.groups = pd.DataFrame(
            {
                "region": (site // 3).astype(str),
                "site": site.astype(str),
                "sex": rng.choice(
                    ["f", "m", "x"], people, p=[(1 - rare) / 2, (1 - rare) / 2, rare]
                ),
                "age": cut(self.years, (40, 65)),
            }
        )
        self.member = rng.random((MODELS, people)).argsort(0) < MODELS // 2
        self.risk = rng.choice([0.0, 0.5, 3.0], people, p=[0.5, 0.4, 0.1])
        self.noise = rng.standard_normal((MODELS, int(self.count.sum())))

    def report(self, folder: Path, name: str, who: NDArray[np.bool_], groups: pd.DataFrame) -> Path:
        """Make a report of some of the patients; the run's folder."""
        people = np.flatnonzero(who)
        owner = np.repeat(np.arange(self.ids.size), self.count)
        kept_records = who[owner]
        new = np.searchsorted(people, owner[kept_records])
        signal = self.noise[:, kept_records] + (self.member * self.risk)[:, owner[kept_records]]
        arrays: dict[str, Any] = {
            str(one): groups[one].to_numpy(dtype=str)[people][new] for one in groups.columns
        }
        np.savez(
            folder / f"{name}.npz",
            signals=signal.astype("f4"),
            membership=self.member[:, people],
            patient=self.ids[people][new],
            **arrays,
        )
        crossed = tuple(pair for pair in CROSSED if set(pair) <= set(groups.columns))
        import_scores(
            read_npz(folder / f"{name}.npz"),
            folder / name,
            seed=1,
            settings=AnalysisSettings(intersections=crossed),
        )
        return folder / name


def cut(years: NDArray[np.int64], at: Sequence[int]) -> NDArray[np.str_]:
    """Ages in groups."""
    return np.digitize(years, at).astype(str)


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


def means(
    run: Path, who: NDArray[np.bool_], groups: pd.DataFrame, count: NDArray[np.int64]
) -> list[Row]:
    """Every published mean of AUCs as counted, with its rounding."""
    summary = json.loads((run / "results" / "summary.json").read_text())
    found: list[Row] = []

    def add(patients: NDArray[np.bool_], step: float | None, published: object) -> None:
        if published is not None and step is not None and patients.any():
            found.append(((patients & who).astype(float), int((patients & who).sum()) * step / 2))

    for name, entry in summary["disparities"].items():
        labels = labels_of(groups, name)
        for group, row in entry["groups"].items():
            add(inside(labels, entry["groups"], group), row.get("rounded_to"), row["mean_auc"])
    for row in summary["patients"]["by_records"]:
        add(band(row["records"], count), row["rounded_to"], row.get("raw_mean_auc"))
    patients = summary["patients"]
    add(who, patients.get("rounded_to", 1e-4), patients["raw"]["mean"])
    return found


def band(name: str, count: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Who has so many records: "1", "3-5" or "6+"."""
    low, _, high = name.rstrip("+").partition("-")
    most = np.inf if name.endswith("+") else int(high or low)
    return (count >= int(low)) & (count <= most)


def closest(rows: Sequence[Row], tried: Iterable[int]) -> float:
    """The least uncertainty about any of the patients tried, in patients; the dual programme."""
    if not rows:
        return np.inf
    matrix, error = np.array([row for row, _ in rows]), np.array([slack for _, slack in rows])
    least = np.inf
    for place in tried:
        cost = np.zeros(matrix.shape[1])
        cost[place] = -1
        bounds = [(None, None) if i == place else (-1, 1) for i in range(cost.size)]
        found = linprog(
            cost,
            A_ub=np.vstack([matrix, -matrix]),
            b_ub=np.concatenate([error, error]),
            bounds=bounds,
            method="highs-ds",
        )
        least = min(least, np.inf if found.status == 3 else 1 - float(found.fun or 0.0))
    return float(least)


def small_cells(run: Path, groups: pd.DataFrame) -> list[str]:
    """Numbers of patients that follow more closely than rounding to 5 allows.

    One variable per combination of groups that somebody is in, and per one that nobody is in but
    could be: sites lie in their regions. Numbers are whole, so bounds are rounded inward.
    """
    summary = json.loads((run / "results" / "summary.json").read_text())
    own = [str(name) for name in groups.columns]
    axes = [sorted(set(groups[name])) for name in own]
    cells = [
        cell
        for cell in itertools.product(*axes)
        if "site" not in own
        or "region" not in own
        or str(_site_region(cell[own.index("site")], groups)) == cell[own.index("region")]
    ]
    frame = pd.DataFrame(cells, columns=own)
    upper: list[NDArray[np.float64]] = [np.ones(len(frame))]
    most, least = [float(len(groups))], [float(len(groups))]
    wanted: dict[str, NDArray[np.bool_]] = {}
    for name, entry in summary["disparities"].items():
        labels = labels_of(frame, name)
        base = entry["suppressed"].get("counts_rounded_to", 1)
        for group, row in entry["groups"].items():
            upper.append(inside(labels, entry["groups"], group).astype(float))
            most.append(row["patients"] + base // 2)
            least.append(row["patients"] - base // 2)
        true = Counter(labels_of(groups, name).tolist())
        wanted |= {f"{name} = {g}": labels == g for g, n in true.items() if 0 < n < CELL}
    matrix = np.array(upper)
    follows = []
    for what, cell in wanted.items():
        ends = [
            side
            * float(
                linprog(
                    side * cell.astype(float),
                    A_ub=np.vstack([matrix, -matrix]),
                    b_ub=np.concatenate([most, -np.array(least)]),
                    bounds=(0, None),
                    method="highs-ds",
                ).fun
                or 0.0
            )
            for side in (1, -1)
        ]
        low, high = np.ceil(ends[0] - LOOSE), np.floor(ends[1] + LOOSE)
        if high - low < 4:
            follows.append(f"{what}: {low:.0f} to {high:.0f}")
    return follows


def _site_region(site: str, groups: pd.DataFrame) -> str:
    return str(groups.loc[groups["site"] == site, "region"].iloc[0])


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


def same_figures(run: Path) -> list[str]:
    """Figures of groups.csv that summary.json does not have."""
    summary = json.loads((run / "results" / "summary.json").read_text())
    with (run / "results" / "groups.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            groups = summary["disparities"][row["attribute"].lstrip("'")]["groups"]
            said = groups[row["group"].lstrip("'")]
            for name in ("patients", "mean_auc", "low", "high", "difference"):
                value = said.get(name)
                if row.get(name, "") != "" and (value is None or float(row[name]) != float(value)):
                    return [f"groups.csv has another {name} of {row['attribute']}"]
    return []


def one_report(number: int) -> dict[str, Any]:
    """Make a report and read it."""
    rng = np.random.default_rng([18, number])
    cohort = Cohort(rng)
    who = np.ones(cohort.ids.size, dtype=bool)
    with tempfile.TemporaryDirectory() as name:
        run = cohort.report(Path(name), "run", who, cohort.groups)
        rows = means(run, who, cohort.groups, cohort.count)
        places = most_at_risk(rng, [cohort.groups], np.arange(cohort.ids.size), 10)
        follows = small_cells(run, cohort.groups) + counted(run) + same_figures(run)
        return {"patients": int(who.sum()), "least": closest(rows, places), "follows": follows}


def one_pair(number: int) -> dict[str, Any]:
    """Make two reports of one ledger and set them against each other."""
    rng = np.random.default_rng([19, number])
    cohort, kind = Cohort(rng), KINDS[number % len(KINDS)]
    everybody = np.ones(cohort.ids.size, dtype=bool)
    first, second = everybody.copy(), everybody.copy()
    before, after = cohort.groups.copy(), cohort.groups.copy()
    one = int(rng.integers(cohort.ids.size))
    changed = [one]
    if kind == "patient leaves":
        second[one] = False
    elif kind == "patient comes":
        first[one] = False
    elif kind == "age cut moves":
        after["age"] = cut(cohort.years, (41, 65))
        changed = np.flatnonzero(before["age"] != after["age"])[:6].tolist()
    elif kind == "site renamed":
        after["site"] = after["site"].replace({"0": "main"})
    else:
        before = before.drop(columns=["region"])
    with tempfile.TemporaryDirectory() as name:
        runs = [
            cohort.report(Path(name), "first", first, before),
            cohort.report(Path(name), "second", second, after),
        ]
        rows = [
            *means(runs[0], first, before, cohort.count),
            *means(runs[1], second, after, cohort.count),
        ]
        places = most_at_risk(rng, [before, after], np.arange(cohort.ids.size), 6)
        tried = sorted({*changed, *places.tolist()})
        left = after[second].reset_index(drop=True)
        follows = [*off_step(runs[1]), *small_cells(runs[1], left)]
        shutil.rmtree(runs[0])
        return {"kind": kind, "least": closest(rows, tried), "follows": follows}


def off_step(run: Path) -> list[str]:
    """Figures about everybody that are finer than the step that the report names."""
    summary = json.loads((run / "results" / "summary.json").read_text())
    if "rounded_to" not in summary["patients"]:
        return []
    step = summary["patients"]["rounded_to"]
    told = {name: one["auc"] for name, one in summary["aggregate"].items()}
    told |= {name: summary["patients"][name]["mean"] for name in ("auc", "raw", "study")}
    if step is None:
        return [f"{name} is not withheld" for name, value in told.items() if value is not None]
    return [
        f"{name} is finer than {step}"
        for name, value in told.items()
        if value is not None and abs(value / step - round(value / step)) > 1e-6
    ]


def main() -> int:
    """Run the campaign, or a slice of it."""
    options = arguments(reports=200, pairs=100)
    single = in_slices(kept(options, "reports"), options.reports, one_report, options.seconds)
    double = in_slices(kept(options, "pairs"), options.pairs, one_pair, options.seconds)
    rows = []
    for name, found in (("reports", single), *((k, of_kind(double, k)) for k in KINDS)):
        least = min((one["least"] for one in found.values()), default=np.inf)
        follows = [said for one in found.values() for said in one["follows"]]
        close = sum(one["least"] < CELL * (1 - LOOSE) for one in found.values())
        rows.append((name, len(found), f"{least:.2f}", close, len(follows)))
        for number, one in found.items():
            if one["follows"] or one["least"] < CELL * (1 - LOOSE):
                print(number, name, one)
    text = table(("set", "done", "least uncertainty, patients", "below 10", "numbers told"), rows)
    print(text)
    if len(single) == options.reports and len(double) == options.pairs:
        title = "What an intruder finds in a report, and between two"
        command = (
            f"python -m benchmarks.intruder --reports {options.reports} --pairs {options.pairs}"
        )
        record("intruder", title, command, text)
    return int(any(row[3] or row[4] for row in rows))


def of_kind(found: dict[int, Any], kind: str) -> dict[int, Any]:
    """Pairs of a kind."""
    return {number: one for number, one in found.items() if one["kind"] == kind}


if __name__ == "__main__":
    sys.exit(main())

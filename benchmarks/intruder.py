"""Whole reports, read by an intruder who knows everything but the figures.

    python -m benchmarks.intruder [--reports 200] [--pairs 100] [--factors 60] [--state DIR]

Each report is made by `import` from simulated scores of a small cohort with nested and crossed
attributes. The intruder reads its files only, knows who is in which group and how many records each
patient has, and asks programmes of his own: linear ones with one variable per patient, and, for
numbers of patients, integer ones with one variable per combination of groups and reports:

- Is a patient's AUC bounded more closely than the mean of so many patients as the smallest cell
  would? He has every mean of every table, of both reports of a pair, with its rounding.
- Is a small number of patients bounded more closely than rounding to 5 allows? He has every number
  of both reports of a pair, every share times its number, and the residuals of the most exposed.

A pair is two reports of one ledger: a patient more or less, an age cut moved by a year, a site
renamed, an attribute added.

What the exposed have in common is read in larger cohorts, half of them pairs: he knows who has each
factor, and with which weight everybody's figure enters its difference.

With `--state`, a later call goes on (`--seconds` ends this one). Exit code 1 where something
follows.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
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
from benchmarks.intruder_counts import Read, counted, inside, labels_of, small_cells
from benchmarks.intruder_factors import Looked, differences, looked_at, numbers
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
    sizes : pair of int
        Least number of patients, and one more than the largest.
    """

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, int] = (60, 200)) -> None:
        people = int(rng.integers(*sizes))
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

    def looked(
        self, folder: Path, name: str, who: NDArray[np.bool_], groups: pd.DataFrame
    ) -> tuple[Path, Looked]:
        """Make a report that knows inputs; the run's folder, and the factors it looks at."""
        with looked_at(np.flatnonzero(who), groups, self.years) as found:
            run = self.report(folder, name, who, groups)
        return run, found[0]

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
            features=np.stack([self.years[owner], self.noise[0]], axis=1)[kept_records].astype(
                "f4"
            ),
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
        read = Read(run=run, who=who, groups=cohort.groups)
        follows = small_cells([read]) + counted(run) + same_figures(run)
        return {"patients": int(who.sum()), "least": closest(rows, places), "follows": follows}


def with_factors(number: int) -> dict[str, Any]:
    """Make a report with factors, or two of one ledger, and read them."""
    rng = np.random.default_rng([20, number])
    cohort, size = Cohort(rng, (220, 360)), 1 + number % 2
    everybody = np.ones(cohort.ids.size, dtype=bool)
    one = int(rng.integers(cohort.ids.size))
    whose = [everybody, everybody & ((np.arange(cohort.ids.size) != one) | (number % 4 == 1))]
    groups = [cohort.groups, cohort.groups.copy()]
    if number % 4 == 1:
        groups[1]["age"] = cut(cohort.years, (41, 65))
    with tempfile.TemporaryDirectory() as name:
        rows: list[Row] = []
        read: list[Read] = []
        shown = 0
        for place in range(size):
            who, table_of = whose[place], groups[place]
            run, looked = cohort.looked(Path(name), f"run{place}", who, table_of)
            rows += means(run, who, table_of, cohort.count)
            told = differences(run, looked, who.size)
            shown += len(told)
            rows += told
            more = tuple(numbers(run, looked, who.size))
            read.append(Read(run=run, who=who, groups=table_of, factors=more))
        places = most_at_risk(rng, groups[:size], np.arange(cohort.ids.size), 8)
        tried = sorted({one, *places.tolist()})
        kind = KINDS[0] if number % 4 == 3 else KINDS[2]
        return {
            "kind": "factors" if size == 1 else f"factors, {kind}",
            "shown": shown,
            "least": closest(rows, tried),
            "follows": small_cells(read),
        }


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
        both = [
            Read(run=runs[0], who=first, groups=before),
            Read(run=runs[1], who=second, groups=after),
        ]
        follows = [*off_step(runs[1]), *small_cells(both)]
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
    options = arguments(reports=200, pairs=100, factors=60)
    single = in_slices(kept(options, "reports"), options.reports, one_report, options.seconds)
    double = in_slices(kept(options, "pairs"), options.pairs, one_pair, options.seconds)
    seen = in_slices(kept(options, "factors"), options.factors, with_factors, options.seconds)
    rows = []
    kinds = dict.fromkeys(one["kind"] for one in seen.values())
    sets = [("reports", single), *((k, of_kind(double, k)) for k in KINDS)]
    sets += [(kind, of_kind(seen, kind)) for kind in sorted(kinds)]
    for name, found in sets:
        least = min((one["least"] for one in found.values()), default=np.inf)
        follows = [said for one in found.values() for said in one["follows"]]
        close = sum(one["least"] < CELL * (1 - LOOSE) for one in found.values())
        shown = sum(one.get("shown", 0) for one in found.values()) or ""
        rows.append((name, len(found), shown, f"{least:.2f}", close, len(follows)))
        for number, one in found.items():
            if one["follows"] or one["least"] < CELL * (1 - LOOSE):
                print(number, name, one)
    columns = ("set", "done", "factors shown", "least uncertainty, patients", "below 10")
    text = table((*columns, "numbers told"), rows)
    print(text)
    found_all = (len(single), len(double), len(seen))
    if found_all == (options.reports, options.pairs, options.factors):
        title = "What an intruder finds in a report, and between two"
        command = (
            f"python -m benchmarks.intruder --reports {options.reports} --pairs {options.pairs} "
            f"--factors {options.factors}"
        )
        record("intruder", title, command, text)
    return int(any(row[4] or row[5] for row in rows))


def of_kind(found: dict[int, Any], kind: str) -> dict[int, Any]:
    """Pairs of a kind."""
    return {number: one for number, one in found.items() if one["kind"] == kind}


if __name__ == "__main__":
    sys.exit(main())

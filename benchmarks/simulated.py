"""Simulated cohorts: null, coverage of intervals, signals of many kinds, bars of patients.

Measured by ``python -m benchmarks.statistics``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from auscult.attacks.layout import Centring, lay_out
from auscult.base.files import write_json
from auscult.risk.disparity import disparities
from auscult.risk.exposed import exposed
from auscult.risk.patients import patient_risk
from auscult.risk.tpr import tpr_of_patients
from benchmarks.machine import spread_over_cores
from benchmarks.results import record, table
from tests.signal_processes import PROCESSES, drawn, drawn_with_records
from tests.simulation import balanced, simulate

COMMAND = "python -m benchmarks.statistics"
MODELS = (32, 64, 200)
LABELLINGS = 10
THRESHOLDS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
EXPOSED = (0.6, 0.7, 0.8, 0.9, 0.95)
PROCESS_MODELS = (32, 64, 128)
PROCESS_PATIENTS = 400
FEW = 60
FEW_PATIENTS, RECORDS = f"normal, {FEW} patients", "normal, 1 to 50 records"
# All patients have one AUC: intervals hold it nearly always, which few cohorts show.
ALIKE = frozenset(name for name in PROCESSES if ", all " in name or name == "nothing")
ALIKE_SHARE = 4
FEWEST_ABOVE = 5  # truly above a threshold, on average: of fewer no coverage is told
TPR_MODELS = (40, 64, 400)


def null_cohort(seed: int) -> dict[str, Any]:
    """One cohort in which nothing leaks; group B has three times the records of group A."""
    rng = np.random.default_rng(seed)
    records = np.repeat([1, 2, 5, 20, 100], [120, 100, 100, 60, 40])
    layout = simulate(np.full(records.size, 0.5), 32, rng, records=records, shared=0.3).layout()
    risk, _ = patient_risk(layout, THRESHOLDS)
    found = exposed(risk, THRESHOLDS, rng)
    # A patient falls in B the more likely the more records it has.
    odds = np.select([records == 1, records == 2, records == 5, records == 20], [2, 3, 5, 6], 7)
    alarms, ratios = [], []
    for _ in range(LABELLINGS):
        inside = rng.random(records.size) < odds / 10
        group = pd.DataFrame({"group": np.where(inside, "B", "A")})
        q = [
            r["q"] for r in disparities(group, risk, layout, seed=seed)["group"]["groups"].values()
        ]
        alarms.append(min(q) < 0.05)
        ratios.append(records[inside].mean() / records[~inside].mean())
    return {
        "auc": {int(k): risk.auc_raw[records == k] for k in np.unique(records)},
        "study": {int(k): risk.study_max_auc[records == k] for k in np.unique(records)},
        "confirmed": sum(e.confirmed for e in found),
        "alarm": float(np.mean(alarms)),
        "ratio": float(np.mean(ratios)),
    }


def null(cohorts: int = 1000) -> None:
    """Nothing leaks: what does the audit say?"""
    found = spread_over_cores(null_cohort, [(s,) for s in range(cohorts)])
    rows = []
    for k in (1, 2, 5, 20, 100):
        auc = np.concatenate([f["auc"][k] for f in found])
        study = np.concatenate([f["study"][k] for f in found])
        error = float(auc.std() / np.sqrt(auc.size))
        rows.append([k, auc.size, f"{auc.mean():.4f} ± {error:.4f}", float(study.mean())])
    quiet = np.mean([f["confirmed"] == 0 for f in found])
    alarms = [f["alarm"] for f in found]
    alarm, error = float(np.mean(alarms)), float(np.std(alarms) / np.sqrt(cohorts))
    ratio = np.mean([f["ratio"] for f in found])
    text = (
        f"{cohorts} simulated cohorts of 420 patients, 32 models, 30% of the noise shared by all "
        "records of a model.\n\n"
        + table(
            ["records per patient", "patients", "mean AUC (standard error)", "study's maximum"],
            rows,
        )
        + f"\n\nNobody confirmed at any of the six thresholds in {100 * quiet:.1f}% of them; "
        f"a group with q < 0.05 in {100 * alarm:.2f}% (standard error {100 * error:.2f}) of "
        f"{LABELLINGS} drawings of the groups each, whose mean record counts differ "
        f"{ratio:.1f}-fold."
    )
    record("null", "Nothing leaks", f"{COMMAND} null", text)


def raw_coverage(models: int, auc: float, seed: int) -> tuple[float, float]:
    """Share of patients whose raw interval holds the truth, and the mean estimate."""
    rng = np.random.default_rng(seed)
    risk, _ = patient_risk(simulate(np.full(4000, auc), models, rng).layout(), ())
    low, high = risk.estimate.interval()
    return float(np.mean((low <= auc) & (auc <= high))), float(risk.auc_raw.mean())


def population(rng: np.random.Generator, patients: int) -> NDArray[np.float64]:
    """True AUCs: most patients leak little, some much."""
    d = np.where(
        rng.random(patients) < 0.3, rng.normal(1.4, 0.5, patients), rng.normal(0.3, 0.2, patients)
    )
    return np.asarray(ndtr(np.clip(d, 0, 3)))


def population_coverage(models: int, seed: int) -> dict[str, Any]:
    """Posterior intervals and exposed counts of one cohort of 600 patients."""
    rng = np.random.default_rng([models, seed])
    auc = population(rng, 600)
    risk, _ = patient_risk(simulate(auc, models, rng).layout(), THRESHOLDS)
    post = risk.posterior
    counts = {e.threshold: e for e in exposed(risk, THRESHOLDS, rng)}
    truth = {t: int((auc > t).sum()) for t in THRESHOLDS}
    return {
        "posterior": float(np.mean((post.low <= auc) & (auc <= post.high))),
        "bias": float(np.mean(post.mean - auc)),
        "count": {t: counts[t].low <= truth[t] <= counts[t].high for t in THRESHOLDS},
        "ratio": {t: (counts[t].estimate, counts[t].raw, truth[t]) for t in THRESHOLDS},
    }


def difference_coverage(models: int, seed: int) -> tuple[bool, bool]:
    """Does the interval of a group's difference hold the population's, and is the test silent?"""
    rng = np.random.default_rng([models, seed, 1])
    group = rng.random(400) < 0.25
    auc = np.where(group, rng.uniform(0.6, 0.95, 400), rng.uniform(0.55, 0.9, 400))
    layout = simulate(auc, models, rng).layout()
    risk, _ = patient_risk(layout, (0.9,))
    labels = pd.DataFrame({"group": np.where(group, "B", "A")})
    row = disparities(labels, risk, layout, seed=seed)["group"]["groups"]["B"]
    return row["difference_low"] <= 0.05 <= row["difference_high"], row["q"] >= 0.05


def coverage(cohorts: int = 400) -> None:
    """95% must mean 93 to 97%."""
    aucs = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
    cases = [(m, a, 17 + i) for i, (m, a) in enumerate((m, a) for m in MODELS for a in aucs)]
    raw = dict(
        zip([(m, a) for m, a, _ in cases], spread_over_cores(raw_coverage, cases), strict=True)
    )
    text = "Raw interval of a patient's AUC: coverage over 4,000 patients (mean estimate).\n\n"
    text += table(
        ["models", *map(str, aucs)],
        [[m, *(f"{100 * raw[m, a][0]:.1f}% ({raw[m, a][1]:.3f})" for a in aucs)] for m in MODELS],
    )
    rows, bias = [], []
    for m in MODELS:
        found = spread_over_cores(population_coverage, [(m, s) for s in range(cohorts)])
        groups = spread_over_cores(difference_coverage, [(m, s) for s in range(cohorts)])
        rows.append(
            [
                m,
                f"{100 * np.mean([f['posterior'] for f in found]):.1f}%",
                *(f"{100 * np.mean([f['count'][t] for f in found]):.1f}%" for t in THRESHOLDS),
                f"{100 * np.mean([g[0] for g in groups]):.1f}%",
            ]
        )
        sums = {t: np.sum([f["ratio"][t] for f in found], axis=0) for t in THRESHOLDS}
        bias.append(
            [
                m,
                f"{np.mean([f['bias'] for f in found]):+.4f}",
                *(
                    f"{100 * (s[0] / s[2] - 1):+.1f}% ({100 * (s[1] / s[2] - 1):+.0f}%)"
                    for s in sums.values()
                ),
            ]
        )
    text += (
        f"\n\nCoverage over {cohorts} cohorts of 600 patients (400 with two groups for the "
        "difference) of mixed risk: posterior interval, interval of the number of exposed patients "
        "at each threshold, interval of a group's difference.\n\n"
    )
    text += table(
        ["models", "posterior", *(f"exposed {t}" for t in THRESHOLDS), "group difference"], rows
    )
    text += (
        "\n\nBias of the posterior mean and of the number of exposed patients (of counting raw "
        "estimates).\n\n"
    )
    text += table(["models", "mean AUC", *(f"exposed {t}" for t in THRESHOLDS)], bias)
    record("coverage", "Intervals", f"{COMMAND} coverage", text)


def process_cohort(kind: str, models: int, seed: int) -> dict[str, Any]:
    """One cohort of a process: what its intervals hold and how many are said to be exposed."""
    rng = np.random.default_rng([seed, models, *kind.encode()])
    if kind == RECORDS:
        case = drawn_with_records(PROCESS_PATIENTS, models, rng)
    elif kind == FEW_PATIENTS:
        case = drawn("normal", FEW, models, rng)
    else:
        case = drawn(kind, PROCESS_PATIENTS, models, rng)
    risk, _ = patient_risk(case.layout(), EXPOSED)
    found = exposed(risk, EXPOSED, rng)
    auc, post = case.auc, risk.posterior
    low, high = risk.estimate.interval()
    true = np.array([(auc > e.threshold).sum() for e in found])
    return {
        "patients": auc.size,
        "raw": float(np.mean((low <= auc) & (auc <= high))),
        # An interval ends where the grid of AUCs ends.
        "posterior": float(np.mean((post.low - 1e-9 <= auc) & (auc <= post.high + 1e-9))),
        "rmse": float(np.sqrt(np.mean((post.mean - auc) ** 2))),
        "true": true,
        "estimate": np.array([e.estimate for e in found]),
        "held": np.array([e.low <= n <= e.high for e, n in zip(found, true, strict=True)]),
        "wrong": np.array([e.confirmed > n for e, n in zip(found, true, strict=True)]),
    }


def process_row(kind: str, models: int, found: list[dict[str, Any]]) -> list[str]:
    """One line of the table of processes."""
    true, estimate, held, wrong = (
        np.mean([f[name] for f in found], axis=0) for name in ("true", "estimate", "held", "wrong")
    )
    patients = found[0]["patients"]
    cells = []
    for place in range(len(EXPOSED)):
        covered = f"{100 * held[place]:.0f}%"
        if true[place] >= FEWEST_ABOVE:
            cells.append(f"{covered} ({estimate[place] / true[place]:.2f})")
        else:
            share = 100 * estimate[place] / patients
            cells.append(f"{true[place]:.1f} truly: said {share:.1f}%")
    return [
        kind,
        str(models),
        f"{100 * np.mean([f['raw'] for f in found]):.1f}%",
        f"{100 * np.mean([f['posterior'] for f in found]):.1f}%",
        f"{np.mean([f['rmse'] for f in found]):.3f}",
        *cells,
        f"{100 * wrong.max():.1f}% ({EXPOSED[int(wrong.argmax())]})" if wrong.any() else "0%",
    ]


def processes(work: Path, cohorts: int = 200) -> None:
    """Signals of many kinds: coverage, estimate over truth, confirmed wrongly.

    It takes an hour or two; lines that are finished are kept in `work`, and a measurement that was
    stopped goes on there. Remove the file when the estimator has changed.
    """
    kept = work / f"processes-{cohorts}.json"
    done = json.loads(kept.read_text()) if kept.exists() else {}
    rows = []
    for kind in [*PROCESSES, FEW_PATIENTS, RECORDS]:
        number = max(1, cohorts // ALIKE_SHARE) if kind in ALIKE else cohorts
        for models in PROCESS_MODELS:
            name = f"{kind}, {models} models"
            if name not in done:
                cases = [(kind, models, seed) for seed in range(number)]
                found = spread_over_cores(process_cohort, cases)
                done[name] = process_row(kind, models, found)
                write_json(kept, done)
            rows.append(done[name])
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    text = (
        f"{cohorts} cohorts (of the kinds in which all patients are alike "
        f"{max(1, cohorts // ALIKE_SHARE)}) of {PROCESS_PATIENTS} patients each ({FEW} where there "
        "are few), one "
        "record per patient unless said. Coverage of a patient's raw and posterior interval, RMSE "
        "of the posterior mean; at each threshold the coverage of the interval of the number of "
        "exposed patients and, in brackets, estimate over truth. Where fewer than "
        f"{FEWEST_ABOVE} patients are truly above a threshold: how many, and the share of the "
        "patients that is said to be. Last, in how many cohorts more were confirmed than are truly "
        "above, at the threshold where this was most frequent. Processes are defined in "
        "`tests/signal_processes.py`.\n\n"
        + table(
            [
                "signals",
                "models",
                "raw",
                "posterior",
                "RMSE",
                *(f"above {t}" for t in EXPOSED),
                "confirmed wrongly",
            ],
            rows,
        )
    )
    record("processes", "Signals of many kinds", f"{COMMAND} processes", text)


def noise(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Signals of one kind that say nothing of membership."""
    x = rng.standard_normal(shape)
    kinds: dict[str, Callable[[], NDArray[np.float64]]] = {
        "normal": lambda: x,
        "skewed": lambda: -np.exp(-x),
        "heavy tails": lambda: rng.standard_t(3, shape),
        "right or wrong": lambda: (x > 0).astype(np.float64),
        "rounded": lambda: np.round(x),
        "two modes": lambda: 0.3 * x + 3.0 * (rng.random(shape) < 0.3),
    }
    return np.asarray(kinds[kind](), dtype=np.float64)


def tpr_of_noise(kind: str, models: int, records: int, seed: int) -> NDArray[np.float64]:
    """TPR at 10% of at most 4,000 patients of whom nothing leaks."""
    patients = max(200, min(4000, 4_000_000 // (models * records)))
    rng = np.random.default_rng([seed, models, records])
    signals = noise(kind, rng, (models, patients * records)).astype(np.float32)
    member = balanced(patients, models, rng)
    layout = lay_out(signals, member, np.repeat(np.arange(patients), records))
    return np.asarray(tpr_of_patients(layout, Centring(layout).apply(layout), (0.1,))[0])


def tpr(repeats: int = 20) -> None:
    """TPR of a patient at a fixed false positive rate: 10% where nothing leaks, else the truth."""
    kinds = ("normal", "skewed", "heavy tails", "right or wrong", "rounded", "two modes")
    rows = []
    for kind in kinds:
        row: list[str] = []
        for models in TPR_MODELS:
            for records in (1, 5):
                cases = [(kind, models, records, s) for s in range(repeats)]
                every = np.concatenate(spread_over_cores(tpr_of_noise, cases))
                error = every.std() / np.sqrt(every.size)
                row.append(f"{100 * every.mean():.2f}% ± {100 * error:.2f}")
        rows.append([kind, *row])
    text = (
        "Mean TPR at 10% of patients of whom nothing leaks, with its standard error.\n\n"
        + table(
            ["signals", *(f"{m} models, {r} record(s)" for m in TPR_MODELS for r in (1, 5))], rows
        )
    )
    rows = []
    for auc in (0.6, 0.7, 0.8, 0.9, 0.95):
        true = ndtr(np.sqrt(2) * ndtri(auc) + ndtri(0.1))
        row = [f"{100 * true:.1f}%"]
        for models in TPR_MODELS:
            rng = np.random.default_rng(models)
            layout = simulate(np.full(20_000, auc), models, rng).layout()
            every = tpr_of_patients(layout, Centring(layout).apply(layout), (0.1,))[0]
            row.append(f"{100 * every.mean():.1f}%")
        rows.append([f"{auc}", *row])
    text += "\n\nMean over 20,000 patients with one record of normal signals.\n\n" + table(
        ["AUC", "true TPR at 10%", *(f"{m} models" for m in TPR_MODELS)], rows
    )
    record("tpr", "TPR of a patient", f"{COMMAND} tpr", text)

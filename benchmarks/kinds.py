"""Kinds of models: do counts from 64 models hold what 512 models of the same audit find?

    python -m benchmarks.kinds [--models 512] [--patients 1000]

Audits diabetes130 (found through AUSCULT_DATA) with other learners than networks, and a simulated
cohort with more columns than anybody can read, in the folder --work.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd

from auscult.attacks.layout import Layout
from auscult.audit import Audit
from auscult.cli.display import progress_for
from auscult.cohort import Cohort
from auscult.config import LoadedConfiguration, parse
from auscult.recipes.sklearn import SklearnRecipe
from auscult.risk.exposed import Exposed, exposed
from auscult.risk.patients import patient_risk
from benchmarks.real import COHORTS, data_folder, layout_of_audit
from benchmarks.results import record, table
from benchmarks.simulated import EXPOSED
from benchmarks.statistics import rows_of_models

COMMAND = "python -m benchmarks.kinds"
FEW = 64
LEARNERS: dict[str, dict[str, object]] = {
    "decision tree": {"model": "sklearn.tree:DecisionTreeClassifier"},
    "5 nearest neighbours": {"model": "k_neighbours"},
    "random forest": {
        "model": "random_forest",
        "arguments": {"min_samples_leaf": 3},
    },
    "gradient boosting": {
        "model": "gradient_boosting",
        "arguments": {"max_iter": 200, "learning_rate": 0.2},
    },
}
WIDE_PATIENTS, WIDE_COLUMNS = 100, 20_000


def audit_with(learner: str, models: int, patients: int) -> Audit:
    """The audit of diabetes130 with another learner."""
    content = tomllib.loads(COHORTS["diabetes130"])
    content["cohort"]["max_patients"] = patients
    if learner in LEARNERS:
        content["recipe"] = {"kind": "sklearn"} | LEARNERS[learner]
    content["audit"] = {"models": models, "seed": 7}
    return LoadedConfiguration(parse(content, learner), data_folder()).audit()


def wide_cohort() -> Cohort:
    """Expression of 20,000 genes of 100 patients: 30 programmes, of which one tells the outcome."""
    rng = np.random.default_rng(20260624)
    programmes = rng.standard_normal((WIDE_PATIENTS, 30))
    loads = rng.standard_normal((30, WIDE_COLUMNS)) * (rng.random((30, WIDE_COLUMNS)) < 0.1)
    genes = programmes @ loads + rng.standard_normal((WIDE_PATIENTS, WIDE_COLUMNS))
    outcome = programmes[:, 0] + 0.5 * rng.standard_normal(WIDE_PATIENTS) > 0
    people = pd.DataFrame({"patient": np.arange(WIDE_PATIENTS), "outcome": outcome.astype(int)})
    inputs = genes.astype(np.float32)
    frame = pd.concat([people, pd.DataFrame(inputs).add_prefix("gene")], axis=1)
    return Cohort.from_table(frame, patient="patient", label="outcome")


def wide_audit(models: int) -> Audit:
    """Logistic regression on all genes."""
    recipe = SklearnRecipe("logistic_regression")
    return Audit(wide_cohort(), recipe, models=models, seed=7)


def row_of(name: str, layout: Layout) -> list[list[str]]:
    """What the first 64 models say, what all say, and how often sets of 64 hold it."""
    risk, _ = patient_risk(layout, EXPOSED)
    whole = exposed(risk, EXPOSED, np.random.default_rng(0))
    sets = layout.models // FEW
    held = np.zeros(len(EXPOSED))
    first: list[Exposed] = []
    for number in range(sets):
        part = rows_of_models(layout, np.arange(number * FEW, (number + 1) * FEW))
        some, _ = patient_risk(part, EXPOSED)
        found = exposed(some, EXPOSED, np.random.default_rng(number))
        held += [f.low <= w.estimate <= f.high for f, w in zip(found, whole, strict=True)]
        first = first or found
    head = [f"{name} ({layout.patients:,})"]
    return [
        [*head, "first 64", *(f"{f.estimate:.0f} ({f.low:.0f} to {f.high:.0f})" for f in first)],
        ["", f"all {layout.models} (raw)", *(f"{w.estimate:.0f} ({w.raw})" for w in whole)],
        ["", f"held by sets of {FEW}", *(f"{h:.0f} of {sets}" for h in held)],
    ]


def main() -> None:
    """Audit, count and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("--models", type=int, default=512)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "auscult-work")
    given = parser.parse_args()
    rows = []
    for name in [*LEARNERS, "network of the README", "20,000 columns"]:
        wide = name.startswith("20,000")
        audit = wide_audit(given.models) if wide else audit_with(name, given.models, given.patients)
        run = given.work / f"kinds-{name.replace(' ', '-').replace(',', '')}-{given.models}"
        rows += row_of(name, layout_of_audit(audit, run, progress_for()))
        print(*rows[-3:], sep="\n", flush=True)
    text = (
        f"Exposed patients of diabetes130 ({given.patients:,} patients; in brackets after the "
        f"learner how many) and of a simulated cohort of {WIDE_PATIENTS} patients with "
        f"{WIDE_COLUMNS:,} columns under logistic regression: what the first 64 models of an audit "
        f"say, with the interval, what all {given.models} say, with the raw count in brackets, and "
        f"how many of the sets of 64 models hold the estimate of all within their interval.\n\n"
        + table(["learner (patients)", "models", *(f"above {t}" for t in EXPOSED)], rows)
    )
    record("kinds", "Kinds of models", COMMAND, text)


if __name__ == "__main__":
    main()

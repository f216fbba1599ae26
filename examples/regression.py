"""A regression: how far Parkinson's disease has progressed, from a voice recording.

    python examples/regression.py DATA OUT

DATA holds parkinsons_telemonitoring. The outcome is declared a number, a scikit-learn regressor
needs no glue, and its standardised squared error is the loss of a record. Recordings of one patient
are alike, so that a forest knows its patients; a ridge regression that may not learn knows nobody.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from auscult import Audit, Cohort, SklearnRecipe

RECIPES = {
    "overfitted": SklearnRecipe("random_forest_regressor", arguments={"n_estimators": 8}),
    "regularised": SklearnRecipe("ridge", arguments={"alpha": 1e7}),
}


def cohort(data: Path) -> Cohort:
    """Every twentieth recording of each of the 42 patients."""
    table = pd.read_csv(data / "parkinsons_telemonitoring" / "parkinsons_updrs.csv")
    return Cohort.from_table(
        table[::20],
        patient="subject#",
        label="total_UPDRS",
        outcome="number",
        label_bins=[30],  # what risks are compared by; the model gets the number
        groups=["sex"],
        exclude=["motor_UPDRS", "test_time", "age", "sex"],
        source="Parkinson's telemonitoring",
    )


def audit(data: Path, variant: str = "overfitted", models: int = 24) -> Audit:
    """The audit of one of the two recipes."""
    return Audit(cohort(data), RECIPES[variant], models=models, seed=7)


if __name__ == "__main__":
    print(audit(Path(sys.argv[1]), models=64).run(sys.argv[2]).headline)

"""Small made-up cohorts for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

HOSTILE_COLUMN = "<script>alert(1)</script>"
HOSTILE_VALUE = '=HYPERLINK("x","y")'

CONFIGURATION = """
[cohort]
table = "visits.csv"
patient = "person"
label = "outcome"
groups = ["sex", "<script>alert(1)</script>"]

[recipe]
kind = "sklearn"
model = "logistic_regression"
arguments = {{ max_iter = 200 }}

[audit]
models = {models}
seed = 3
"""


def visits(patients: int = 60, seed: int = 0) -> pd.DataFrame:
    """Records of patients whose identifiers are easy to grep for; names and values are hostile."""
    rng = np.random.default_rng(seed)
    count = 1 + rng.poisson(0.8, patients)
    person = np.repeat(np.arange(patients), count)
    own = rng.normal(size=(patients, 3))
    values = own[person] + 0.3 * rng.normal(size=(person.size, 3))
    outcome = (values[:, 0] + 0.8 * rng.normal(size=person.size)) > 0
    return pd.DataFrame(
        {
            "person": [f"Zxq{i:04d}wv" for i in person],
            "sex": np.where(rng.random(patients) < 0.5, "f", "m")[person],
            HOSTILE_COLUMN: np.where(rng.random(patients) < 0.4, HOSTILE_VALUE, "plain")[person],
            "a": values[:, 0],
            "b": values[:, 1],
            "c": np.where(rng.random(person.size) < 0.1, np.nan, values[:, 2]),
            "outcome": np.where(outcome, "yes", "no"),
        }
    )


def write_audit(folder: Path, models: int = 8, patients: int = 60) -> Path:
    """A folder with a table and an ``audit.toml``; returns the latter."""
    visits(patients).to_csv(folder / "visits.csv", index=False)
    path = folder / "audit.toml"
    path.write_text(CONFIGURATION.format(models=models), encoding="utf-8")
    return path

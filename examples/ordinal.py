"""Ordered classes: how many other diseases a patient has, none to three and more.

    python examples/ordinal.py DATA OUT

DATA holds support2. Cut points make ordered classes. One regression for each of the thresholds says
how likely a patient lies above it, and differences are the classes' probabilities.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from auscult import Audit, Cohort, PythonRecipe

Array = NDArray[Any]
CUTS = [1, 2, 3]
READ = (
    *("age", "scoma", "avtisst", "sps", "aps", "hday", "meanbp", "wblc", "hrt", "resp", "temp"),
    *("crea", "sod", "edu", "dnrday"),
)
STRENGTH = {"overfitted": 1e3, "regularised": 1e-12}


def cohort(data: Path) -> Cohort:
    """A random subset of the patients."""
    table = pd.read_csv(data / "support2" / "support2.csv", skipinitialspace=True)
    return Cohort.from_table(
        table[["sno", "sex", "num.co", *READ]],
        patient="sno",
        label="num.co",
        label_bins=CUTS,
        groups=["sex"],
        exclude=["sex"],
        max_patients=150,
        source="SUPPORT2",
    )


def train(
    inputs: pd.DataFrame, labels: Array, seed: int, strength: float
) -> Callable[[pd.DataFrame], Array]:
    """A regression for each threshold between classes, on squares and products as well."""
    middle, mean, spread = inputs.median(), inputs.mean(), inputs.std().replace(0, 1)
    rows, columns = np.triu_indices(inputs.shape[1])

    def scaled(table: pd.DataFrame) -> Array:
        x = np.asarray(((table.fillna(middle) - mean) / spread).clip(-3, 3), dtype=np.float64)
        return np.concatenate([x, x[:, rows] * x[:, columns]], axis=1)

    x = scaled(inputs)
    steps = [
        LogisticRegression(C=strength, max_iter=200).fit(x, labels > cut)
        for cut in range(len(CUTS))
    ]

    def predict(inputs: pd.DataFrame) -> Array:
        x = scaled(inputs)
        above = np.column_stack([one.predict_proba(x)[:, 1] for one in steps])
        above = np.minimum.accumulate(above, axis=1)  # nobody is likelier above a higher bar
        bounds = np.column_stack([np.ones(len(x)), above, np.zeros(len(x))])
        p = np.maximum(-np.diff(bounds, axis=1), 1e-12)
        return np.asarray(p / p.sum(axis=1, keepdims=True))

    return predict


def audit(data: Path, variant: str = "overfitted", models: int = 24) -> Audit:
    """The audit of one of the two recipes."""
    fit = functools.partial(train, strength=STRENGTH[variant])
    return Audit(cohort(data), PythonRecipe(fit), models=models, seed=7)


if __name__ == "__main__":
    print(audit(Path(sys.argv[1]), models=64).run(sys.argv[2]).headline)

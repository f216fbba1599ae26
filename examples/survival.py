"""Survival: a Cox regression of seriously ill adults, with time and event as the outcome.

    python examples/survival.py DATA OUT

DATA holds support2. `train` gets a structured label with the fields "event" and "time", as
scikit-survival takes it. A partial likelihood is of all patients at once; the loss of one record is
its negative log-likelihood with a baseline hazard that is constant between quantiles of time.
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
from scipy.optimize import minimize

from auscult import Audit, Cohort, PythonRecipe

Array = NDArray[Any]
READ = (
    *("age", "num.co", "scoma", "avtisst", "sps", "aps", "hday", "meanbp", "wblc", "hrt", "resp"),
    *("temp", "crea", "sod", "dnrday", "edu"),
)
PENALTIES = {"overfitted": 1e-2, "regularised": 1e12}
PIECES = 6


def cohort(data: Path) -> Cohort:
    """A random subset of the patients, whose days until death or last contact are known."""
    table = pd.read_csv(data / "support2" / "support2.csv", skipinitialspace=True)
    return Cohort.from_table(
        table[["sno", "d.time", "death", "sex", *READ]],
        patient="sno",
        label=["d.time", "death"],
        outcome="time and event",
        groups=["sex"],
        exclude=["sex"],
        max_patients=150,
        source="SUPPORT2",
    )


def partial_likelihood(x: Array, labels: Array, penalty: float) -> Array:
    """Weights that maximise Cox's partial likelihood (Breslow's ties) less a ridge penalty."""
    order = np.argsort(-labels["time"], kind="stable")
    x, event = x[order], labels["event"][order]

    def value(w: Array) -> tuple[float, Array]:
        eta = x @ w
        risk = np.exp(eta - eta.max())
        total = np.cumsum(risk)
        mean = np.cumsum(risk[:, None] * x, axis=0) / total[:, None]
        lost = (np.log(total) + eta.max() - eta)[event].sum() + penalty * (w**2).sum()
        return float(lost), np.asarray((mean - x)[event].sum(axis=0) + 2 * penalty * w)

    return np.asarray(minimize(value, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x)


def train(
    inputs: pd.DataFrame, labels: Array, seed: int, penalty: float
) -> Callable[[pd.DataFrame, Array], dict[str, Array]]:
    """Fit on the members, with squares and products; returns what tells losses and risks."""
    middle, mean, spread = inputs.median(), inputs.mean(), inputs.std().replace(0, 1)
    rows, columns = np.triu_indices(inputs.shape[1])

    def scaled(table: pd.DataFrame) -> Array:
        x = np.asarray(((table.fillna(middle) - mean) / spread).clip(-3, 3), dtype=np.float64)
        return np.concatenate([x, x[:, rows] * x[:, columns]], axis=1)

    x = scaled(inputs)
    w = partial_likelihood(x, labels, penalty)
    cuts = np.quantile(labels["time"], np.linspace(0, 1, PIECES + 1)[1:-1])
    edges = np.concatenate([[0.0], cuts, [np.inf]])

    def spent(time: Array) -> Array:
        """Time spent in each piece, shape (records, pieces)."""
        return np.asarray(np.clip(time[:, None] - edges[:-1], 0, np.diff(edges)))

    piece = np.searchsorted(cuts, labels["time"], side="left")
    deaths = np.bincount(piece, weights=labels["event"], minlength=PIECES)
    hazard = (deaths + 0.5) / (spent(labels["time"]) * np.exp(x @ w)[:, None]).sum(axis=0)

    def loss(inputs: pd.DataFrame, labels: Array) -> dict[str, Array]:
        eta = np.clip(scaled(inputs) @ w, -30, 30)
        there = np.searchsorted(cuts, labels["time"], side="left")
        cumulated = spent(labels["time"]) @ hazard * np.exp(eta)
        known = labels["event"] * (np.log(hazard[there]) + eta)
        return {"loss": cumulated - known, "prediction": eta}

    return loss


def audit(data: Path, variant: str = "overfitted", models: int = 24) -> Audit:
    """The audit of one of the two recipes."""
    fit = functools.partial(train, penalty=PENALTIES[variant])
    recipe = PythonRecipe(fit, output="loss", utility="concordance")
    return Audit(cohort(data), recipe, models=models, seed=7)


if __name__ == "__main__":
    print(audit(Path(sys.argv[1]), models=64).run(sys.argv[2]).headline)

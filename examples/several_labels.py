"""Several labels at once: death in hospital, diabetes and metastatic cancer of one admission.

    python examples/several_labels.py DATA OUT

DATA holds support2. A list of columns of 0 and 1 makes a multi-label task.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from auscult import Audit, Cohort, TorchRecipe

LABELS = ["hospdead", "diabetes", "metastatic"]
READ = (
    *("age", "scoma", "avtisst", "sps", "aps", "hday", "meanbp", "wblc", "hrt", "resp", "temp"),
    *("crea", "sod"),
)
RECIPES = {
    "overfitted": TorchRecipe(
        "mlp", hidden=[64], epochs=150, batch_size=64, learning_rate=0.01, device="cpu"
    ),
    "regularised": TorchRecipe(
        "mlp", hidden=[4], epochs=1, batch_size=64, learning_rate=1e-6, device="cpu"
    ),
}


def cohort(data: Path) -> Cohort:
    """A random subset of the patients."""
    table = pd.read_csv(data / "support2" / "support2.csv", skipinitialspace=True)
    table["metastatic"] = (table["ca"] == "metastatic").astype(int)
    return Cohort.from_table(
        table[["sno", "sex", *LABELS, *READ]],
        patient="sno",
        label=LABELS,
        groups=["sex"],
        exclude=["sex"],
        max_patients=150,
        source="SUPPORT2",
    )


def audit(data: Path, variant: str = "overfitted", models: int = 24) -> Audit:
    """The audit of one of the two recipes."""
    return Audit(cohort(data), RECIPES[variant], models=models, seed=7)


if __name__ == "__main__":
    print(audit(Path(sys.argv[1]), models=64).run(sys.argv[2]).headline)

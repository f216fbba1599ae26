"""How often the blind baseline's interval covers: made-up groups, and halves of a real hospital.

    python -m benchmarks.blind [--draws 300]

The truth of a made-up setting is the mean area over its draws; of the halves it is one half.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from auscult.blind import BlindBaseline, blind_baseline
from auscult.cohort.inputs import TableInputs
from benchmarks.results import record, table

SETTINGS = ((40, 0.0), (40, 0.5), (40, 1.0), (40, 3.0), (150, 0.0), (150, 0.5))
COLUMNS = 6
TITLE = "Coverage of the blind baseline"
TEXT = (
    "Six columns of which one differs, one or more records a patient; and halves of a real "
    "hospital, which differ in nothing but membership. The interval has a nominal 95%, and 2.5% "
    "of the nulls may be called above chance."
)
COLUMNS_SHOWN = ("groups", "mean AUC", "interval covers", "called above chance", "width")


def made_up(patients: int, shift: float, seed: int) -> BlindBaseline:
    """Two groups of patients whose first of six columns differs by `shift` standard deviations."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(2 * patients), 1 + rng.poisson(0.5, 2 * patients))
    own = rng.normal(size=(2 * patients, COLUMNS))
    own[:patients, 0] += shift
    values = own[patient] + 0.3 * rng.normal(size=(patient.size, COLUMNS))
    inputs = TableInputs(
        numeric=values.astype(np.float32),
        numeric_names=tuple(map(str, range(COLUMNS))),
        codes=np.zeros((patient.size, 0), dtype=np.int32),
        categorical_names=(),
        levels=(),
    )
    return blind_baseline(inputs, patient, patient < patients, seed=seed)


def halves(folder: Path) -> Callable[[int], BlindBaseline]:
    """Random halves of one hospital's patients: nothing but membership differs."""
    with np.load(folder / "images.npz", allow_pickle=False) as content:
        images = content["images"]
    patient = pd.read_csv(folder / "metadata.csv")["patient_id"].astype(str).to_numpy(dtype=str)
    names = np.unique(patient)

    def one(seed: int) -> BlindBaseline:
        chosen = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
        return blind_baseline(images, patient, np.isin(patient, chosen), seed=seed)

    return one


def row(
    name: str, draw: Callable[[int], BlindBaseline], draws: int, truth: float | None
) -> list[object]:
    """One line of the table."""
    found = [draw(seed) for seed in range(draws)]
    auc = np.array([one.auc for one in found])
    low, high = np.array([[one.low, one.high] for one in found]).T
    true = float(auc.mean()) if truth is None else truth
    covers = float(((low <= true) & (true <= high)).mean())
    return [
        name,
        float(auc.mean()),
        f"{100 * covers:.1f}%",
        f"{100 * (low > 0.5).mean():.1f}%",
        f"{(high - low).mean():.2f}",
    ]


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--draws", type=int, default=300)
    draws = parser.parse_args().draws
    rows = []
    for patients, shift in SETTINGS:
        name = f"{patients} and {patients} patients, {shift:g} SD apart"
        rows.append(row(name, partial(made_up, patients, shift), draws, None))
    data = os.environ.get("AUSCULT_DATA")
    if data:
        one = halves(Path(data) / "hannover_covid_cxr_64")
        rows.append(row("halves of Hannover's 71 patients, 243 radiographs", one, draws, 0.5))
    record(
        "blind",
        TITLE,
        "python -m benchmarks.blind",
        f"{draws} draws each. {TEXT}\n\n{table(COLUMNS_SHOWN, rows)}",
    )


if __name__ == "__main__":
    main()

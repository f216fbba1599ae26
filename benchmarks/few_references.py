"""An attacker with 0, 1 or 4 reference models: the table's attack beside RMIA, LiRA and attack R.

    python -m benchmarks.few_references [--models M] [--patients N] [--state FOLDER]

One threshold for everybody: AUC over all people of a model, mean over models. The references of a
person are models that did not train on them (offline), drawn anew for every model attacked.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from auscult.attacks.layout import Layout
from auscult.attacks.places import Places
from auscult.attacks.roc import exact_auc
from auscult.base.progress import SILENT
from auscult.exposure.cell import How, attack
from benchmarks.attacks import audit_of
from benchmarks.real import layout_of_audit
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.few_references"
CASES = (("diabetes130", "mlp"), ("support2", "mlp"), ("diabetes130", "gradient boosting"))
NUMBERS = (0, 1, 4)
SEED = 7
SMALLEST = 1e-6


def by_references(layout: Layout, number: int) -> dict[str, float]:
    """AUC over all people of the field's offline attacks, mean over models."""
    rng = np.random.default_rng([SEED, number])
    x = np.add.reduceat(layout.signals.astype(np.float64), layout.first) / layout.count[:, None]
    sure = np.clip(expit(x), SMALLEST, 1 - SMALLEST)
    found: dict[str, list[float]] = {"signal alone": []}
    for target in range(layout.models):
        member = layout.member[:, target]
        scores = {"signal alone": x[:, target]}
        if number:
            # Models that the person is OUT of, but the one attacked, in an order drawn for each.
            order = rng.random(x.shape)
            order[layout.member] = 2.0
            order[:, target] = 2.0
            chosen = np.argsort(order, axis=1)[:, :number]
            theirs = np.take_along_axis(x, chosen, axis=1)
            ratio = sure[:, target] / np.take_along_axis(sure, chosen, axis=1).mean(axis=1)
            scores["RMIA offline"] = np.log(ratio)
            scores["LiRA offline, fixed variance"] = x[:, target] - theirs.mean(axis=1)
            scores["attack R"] = (x[:, target, None] > theirs).mean(axis=1)
        for name, score in scores.items():
            found.setdefault(name, []).append(exact_auc(score[member], score[~member]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def auscults(layout: Layout, number: int) -> NDArray[np.float64]:
    """The same figure of the exposure table's attack."""
    how = How(references=number, signed=False, seed=SEED, inputs=True)
    return np.array(attack(layout, how).evidence.auc())


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--patients", type=int, default=3000)
    parser.add_argument("--state", type=Path, help="folder of finished runs")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as passing:
        for cohort, recipe in CASES:
            audit = audit_of(cohort, recipe, given.models, given.patients)
            name = f"{cohort}-{recipe.replace(' ', '-')}-{given.patients}-{given.models}"
            layout = replace(
                layout_of_audit(audit, (given.state or Path(passing)) / name, SILENT),
                places=Places.of(audit.cohort.inputs, audit.cohort.patient_of_record),
            )
            for number in NUMBERS:
                theirs = by_references(layout, number)
                figures = {"Auscult": float(auscults(layout, number)), **theirs}
                rows.append([f"{cohort}, {recipe}", str(number), *_shown(figures)])
                print(rows[-1], flush=True)
    text = (
        f"{given.models} models, {given.patients:,} patients, seed {SEED}. One threshold for "
        "everybody: AUC over all people of one model, mean over models (Auscult: over the "
        "calibrated ratios of all models). References are models that the person is OUT of; "
        "Auscult's are drawn from all, and it knows whose data trained them, and what the models "
        "read of each record.\n\n" + table(["cohort", "references", *HEAD], rows)
    )
    options = f"--models {given.models} --patients {given.patients}"
    record("few-references", "Attackers with few reference models", f"{COMMAND} {options}", text)


HEAD = ["Auscult", "signal alone", "RMIA offline", "LiRA offline, fixed variance", "attack R"]


def _shown(figures: dict[str, float]) -> list[str]:
    return [f"{figures[name]:.4f}" if name in figures else "" for name in HEAD]


if __name__ == "__main__":
    main()

"""What all logits, further queries and the weights add to the log-odds of the truth.

    python -m benchmarks.further [--models M] [--patients N]

Shared cohorts, found through AUSCULT_DATA; the same models and patients for every access. Weights
of signals are learned from other patients, and the joint attack is cross-fitted over models. Beside
each: the same where membership is dealt anew, weighing included, and noise as further signals.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.access import access_signals, parse_access
from auscult.attacks.further import More, with_further
from auscult.attacks.joint import auc_in_folds, tuned
from auscult.attacks.layout import AsTheyCome, Centring, Layout, lay_out
from auscult.attacks.more import more_seen
from auscult.attacks.places import Places
from auscult.audit import Audit
from auscult.base.randomness import Stage, generator
from auscult.cohort.design import Membership
from auscult.config import LoadedConfiguration, parse
from auscult.risk.patients import permuted
from auscult.store import Outputs
from auscult.training.dispatch import assignments
from benchmarks.real import COHORTS, data_folder
from benchmarks.results import record, table

COMMAND = "python -m benchmarks.further"
SEED = 7
BLOCK = 8  # models that are trained together
QUERIES = ("noise:0.1", "augmented:4")
SUPPORT2 = """
[cohort]
table = "support2/support2.csv"
patient = "sno"
label = "dzgroup"
groups = ["sex"]
exclude = ["dzclass", "hospdead", "death", "d.time", "surv2m", "surv6m", "prg2m", "prg6m", "dnr",
           "dnrday", "sfdm2", "aps", "sps", "slos", "hday", "charges", "totcst", "totmcst"]
[recipe]
kind = "torch"
model = "mlp"
hidden = [128, 128]
epochs = 15
batch_size = 64
"""
CASES = {
    "diabetes130, readmitted or not": COHORTS["diabetes130"],
    "diabetes130, 3 classes": COHORTS["diabetes130"].replace('positive = ["<30", ">30"]\n', ""),
    "support2, 8 diagnoses": SUPPORT2,
}


def noise(records: int, models: int) -> More:
    """Five signals that tell nothing."""
    values = np.random.default_rng(SEED).normal(size=(models, records, 5))
    return More(
        names=tuple("abcde"),
        read=lambda start, stop: values[:, start:stop],
        records=records,
        at_once=records,
    )


def aucs(layout: Layout, more: More | None = None) -> tuple[NDArray[np.float64], str]:
    """AUC of each patient under the joint attack, and whether signals were weighed in."""
    used = ""
    centring: Centring | None = None
    if more is not None:
        layout, told = with_further(layout, more)
        used = "yes" if told.used else "no"
        centring = AsTheyCome() if told.used else None
    centring = centring or Centring(layout)
    scores = tuned(layout, centring).score(layout, centring.apply(layout))
    return auc_in_folds(scores.values, scores.deal.weight), used


def trained(audit: Audit, membership: Membership) -> Outputs:
    """What the audit's models return, and what their weights say, trained here and now."""
    data, of_record = audit._training_data(), audit.cohort.patient_of_record
    jobs = assignments(range(audit.models), membership, of_record, audit.seed)
    blocks = [
        audit.recipe.train_block(data, jobs[start : start + BLOCK], lambda _: None)
        for start in range(0, audit.models, BLOCK)
    ]
    values = np.concatenate([block.values for block in blocks])
    return Outputs.in_memory(values, blocks[0].kind, blocks[0].inside)


def measured(name: str, models: int, patients: int) -> list[list[object]]:
    """Rows of one cohort."""
    content: dict[str, Any] = tomllib.loads(CASES[name])
    content["cohort"]["max_patients"] = patients
    content["audit"] = {
        "models": models,
        "seed": SEED,
        "white_box": True,
        "queries": list(QUERIES),
    }
    audit = LoadedConfiguration(parse(content, name), data_folder()).audit()
    cohort, membership = audit.cohort, audit._design().membership()
    outputs, labels = trained(audit, membership), cohort.labels
    places = Places.of(cohort.inputs, cohort.patient_of_record)
    layout = lay_out(
        access_signals(outputs, labels, parse_access("logits"), (0,)),
        membership.reveal(),
        cohort.patient_of_record,
        labels,
        places,
    )
    logits, weights = parse_access("logits"), parse_access("white-box")
    ways = {
        "log-odds of the truth": None,
        "all logits": more_seen(outputs, labels, logits, (0,)),
        "and queries": more_seen(outputs, labels, logits, (0,), QUERIES),
        "the weights": more_seen(outputs, labels, weights, (0,)),
        "and queries, weights": more_seen(outputs, labels, weights, (0,), QUERIES),
        "noise": noise(outputs.records, models),
    }
    base, _ = aucs(layout)
    rows: list[list[object]] = []
    for way, more in ways.items():
        if more is None and rows:
            continue  # of two classes one number says all
        begin = time.process_time()
        each, used = aucs(layout, more)
        seconds = time.process_time() - begin
        nulls = []
        for number in range(2):
            again = permuted(layout, generator(SEED + number, Stage.NULL))
            nulls.append(np.nanmean(aucs(again, more)[0]))
        gain = each - base
        error = np.nanstd(gain, ddof=1) / np.sqrt(np.isfinite(gain).sum())
        rows.append(
            [
                name,
                way,
                used,
                f"{np.nanmean(each):.4f}",
                f"{np.nanmean(gain):+.4f} ± {error:.4f}",
                f"{100 * np.mean(each[np.isfinite(each)] > 0.9):.1f}%",
                f"{np.mean(nulls):.4f}",
                f"{seconds:.1f}",
            ]
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure and write the section of RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--patients", type=int, default=1500)
    asked = parser.parse_args()
    rows: list[list[object]] = []
    for name in CASES:
        rows += measured(name, asked.models, asked.patients)
    columns = (
        "cohort",
        "seen of a record",
        "weighed in",
        "mean AUC",
        "gain",
        "above .9",
        "null",
        "seconds",
    )
    text = (
        f"{asked.patients:,} patients, {asked.models} models, networks 128-128, seed {SEED}. Gain: "
        "over patients, with its standard error. Above .9: of the cross-fitted AUC. Null: mean "
        "over two dealings of membership, signals weighed anew.\n\n" + table(columns, rows)
    )
    record("further", "What more of a model says", COMMAND, text)


if __name__ == "__main__":
    main()

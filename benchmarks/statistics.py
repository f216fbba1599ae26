"""Are the numbers right? Null, coverage, precision, power: simulated truth and real cohorts.

    python -m benchmarks.statistics [null coverage processes groups counts tpr precision attacks]

`precision` and `attacks` audit real cohorts, found through AUSCULT_DATA, in the folder --work.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.joint import STRENGTHS, auc_in_folds, joint_scores
from auscult.attacks.layout import Centring, Layout
from auscult.risk.exposed import exposed
from auscult.risk.patients import patient_risk, permuted
from benchmarks.group_tests import counts, groups
from benchmarks.real import layout_of
from benchmarks.results import record, table
from benchmarks.simulated import EXPOSED, coverage, null, processes, tpr

COMMAND = "python -m benchmarks.statistics"
PERMUTED = 6000
BANDS = (("1", 1, 1), ("2", 2, 2), ("3-5", 3, 5), ("6+", 6, 10**9))


def rows_of_models(layout: Layout, models: NDArray[np.int64]) -> Layout:
    """The same cohort with some of the models."""
    return replace(layout, signals=layout.signals[:, models], member=layout.member[:, models])


def precision(work: Path) -> None:
    """How far are raw and shrunken estimates from the raw verdict of 128 other models?"""
    whole = layout_of("diabetes130", 256, work)
    reference, _ = patient_risk(rows_of_models(whole, np.arange(128, 256)), EXPOSED)
    truth, noise = reference.auc_raw, reference.estimate.noise
    rows = []
    for models in (32, 48, 64, 90, 128):
        risk, _ = patient_risk(rows_of_models(whole, np.arange(models)), EXPOSED)
        both = np.isfinite(risk.auc_raw) & np.isfinite(truth)

        def distance(estimate: NDArray[np.float64], both: NDArray[np.bool_] = both) -> float:
            square = float(np.mean((estimate - truth)[both] ** 2) - np.mean(noise[both]))
            return float(np.sqrt(max(square, 0.0)))

        found = {e.threshold: e for e in exposed(risk, EXPOSED, np.random.default_rng(models))}
        rows.append(
            [
                models,
                f"{distance(risk.auc_raw):.4f}",
                f"{distance(risk.posterior.mean):.4f}",
                f"{np.mean((risk.posterior.mean - truth)[both]):+.4f}",
                *(f"{e.estimate:.0f} ({e.low:.0f} to {e.high:.0f})" for e in found.values()),
            ]
        )
    whole_count = exposed(reference, EXPOSED, np.random.default_rng(0))
    rows.append(
        ["128 others", "", "", "", *(f"{e.estimate:.0f} (raw {e.raw})" for e in whole_count)]
    )
    text = (
        "RMSE of a patient's AUC on diabetes130 (6,000 patients) from the counted AUC of 128 other "
        "models, whose own noise is subtracted; mean of the shrunken AUCs less that of the counted "
        "ones; exposed patients.\n\n"
        + table(
            ["models", "raw", "shrunken", "mean difference", *(f"above {t}" for t in EXPOSED)],
            rows,
        )
    )
    record("precision", "Precision of a patient's AUC", f"{COMMAND} precision", text)


def honest_maximum(layout: Layout, signals: NDArray[np.floating]) -> NDArray[np.float64]:
    """The study's maximum, evaluated honestly: the record is chosen on other models."""
    dealt = layout.deal()
    result = np.full((layout.patients, dealt.folds, 2, dealt.model.shape[3]), np.nan)
    for patient in np.flatnonzero(layout.estimable()):
        rows = slice(layout.first[patient], layout.first[patient] + layout.count[patient])
        x = signals[rows].astype(np.float64)
        for fold in range(dealt.folds):
            others = [f for f in range(dealt.folds) if f != fold]
            inside, outside = (
                x[:, dealt.model[patient, others, c][dealt.weight[patient, others, c] > 0]]
                for c in (1, 0)
            )
            spread = np.sqrt(inside.var(axis=1, ddof=1) + outside.var(axis=1, ddof=1))
            best = int(np.argmax((inside.mean(axis=1) - outside.mean(axis=1)) / (spread + 1e-12)))
            result[patient, fold] = x[best][dealt.model[patient, fold]]
    return auc_in_folds(result, dealt.weight)


def attacks(work: Path) -> None:
    """One patient score against the alternatives, by record count, with its null."""
    rng = np.random.default_rng(5)
    visits = layout_of("diabetes130", 256, work)
    cases = [
        ("diabetes130", 256, visits),
        ("diabetes130", 32, rows_of_models(visits, np.arange(32))),
        *(
            (name, models, layout_of(name, models, work))
            for name, models in (
                ("lgg_mri_64", 32),
                ("lgg_mri_64 at 32 px, overfitted", 32),
                ("hannover_covid_cxr_64", 64),
                ("parkinsons_telemonitoring", 32),
            )
        ),
    ]
    rows = []
    for name, models, layout in cases:
        found = compared(layout)
        repeats = -(-PERMUTED // layout.patients)
        nothing = np.stack([permuted_auc(layout, rng) for _ in range(repeats)])
        for band, low, high in BANDS:
            here = (layout.count >= low) & (layout.count <= high)
            if here.sum() < 10:
                continue
            row = [name, models, band, int(here.sum())] + [
                f"{100 * np.nanmean(auc[here] > 0.9):.1f}% ({np.nanmean(auc[here]):.3f})"
                for auc in found.values()
            ]
            chance = nothing[:, here]
            error = np.nanstd(chance) / np.sqrt(chance.size)
            rows.append([*row, f"{np.nanmean(chance):.4f} ± {error:.4f}"])
    text = (
        "Share of patients with a cross-fitted AUC above 0.9 (mean AUC), all rules evaluated on "
        "models that they were not fitted on. The last column is the mean AUC of the same attack "
        f"when memberships are permuted, until {PERMUTED:,} patients were, with its standard "
        "error over patients.\n\n"
        + table(
            ["cohort", "models", "records", "patients", *found, "null of the joint attack"], rows
        )
    )
    record("attacks", "The patient attack against its alternatives", f"{COMMAND} attacks", text)


def auc_of(
    layout: Layout, centring: Centring | None, strengths: tuple[float, ...] = STRENGTHS
) -> NDArray[np.float64]:
    """Cross-fitted AUC of every patient under one choice of weights."""
    scores = joint_scores(layout, centring, strengths=strengths)
    return auc_in_folds(scores.values, scores.deal.weight)


def permuted_auc(layout: Layout, rng: np.random.Generator) -> NDArray[np.float64]:
    """Cross-fitted AUC of every patient where memberships are permuted."""
    again = permuted(layout, rng)
    return auc_of(again, Centring(again))


def compared(layout: Layout) -> dict[str, NDArray[np.float64]]:
    """AUC per patient under every rule."""
    centring = Centring(layout)
    return {
        "joint (Auscult)": auc_of(layout, centring),
        "linear discriminant, centred": auc_of(layout, centring, (0.0,)),
        "mean, centred": auc_of(layout, centring, (np.inf,)),
        "mean, not centred": auc_of(layout, None, (np.inf,)),
        "maximum over records, honest": honest_maximum(layout, layout.signals),
    }


def main() -> None:
    """Run the measurements that are asked for; all of them by default."""
    parts: dict[str, Callable[[Path, dict[str, int]], None]] = {
        "null": lambda _, n: null(**n),
        "coverage": lambda _, n: coverage(**n),
        "processes": lambda work, n: processes(work, **n),
        "groups": lambda _, n: groups(**n),
        "counts": lambda _, n: counts(**n),
        "tpr": lambda *_: tpr(),
        "precision": lambda work, _: precision(work),
        "attacks": lambda work, _: attacks(work),
    }
    parser = argparse.ArgumentParser(description=__doc__, prog=COMMAND)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "auscult-work")
    parser.add_argument("--cohorts", type=int, help="simulated cohorts of each case")
    given = parser.parse_args()
    number = {} if given.cohorts is None else {"cohorts": given.cohorts}
    for name in given.parts or parts:
        parts[name](given.work, number)


if __name__ == "__main__":
    main()

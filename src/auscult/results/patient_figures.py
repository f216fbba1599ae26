"""The "patients" object of the summary: how exposed patients are, as one and by record count."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.layout import FEWEST_PER_CLASS, RAREST, Layout
from auscult.base.intervals import NORMAL_95
from auscult.base.parallel import in_order
from auscult.base.progress import Progress
from auscult.base.randomness import Stage, generator
from auscult.cohort.cohort import record_bands
from auscult.disclosure import FEWER, is_small, rounded_count, supported
from auscult.risk.exposed import REPLICATES, exposed, few_models
from auscult.risk.group_intervals import share_interval
from auscult.risk.patients import Null, PatientRisk, null_mean
from auscult.risk.published import fewest, share_of
from auscult.risk.released import ReleasedTable
from auscult.risk.tpr import METHOD as TPR_METHOD

THRESHOLDS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

SURVIVAL_GRID = (*(round(0.5 + 0.01 * i, 2) for i in range(50)), 0.995, 0.999)

# A band's null mean is taken over at least so many permuted patients: its error is then 0.002.
NULL_PATIENTS = 2000

# Standard errors by which posterior and counted AUCs may differ in the mean, and what rounding on a
# grid may add.
DISAGREEMENT_ERRORS, DISAGREEMENT_SLACK = 3.0, 0.004

MOST_PERMUTATIONS = 50

PATIENT_METHOD = (
    "Joint attack on all records of a patient at once; models in folds, each fold scored by "
    "weights from the others; pairs of IN and OUT models are counted, whatever the distribution of "
    "scores, and their noise is learned over all patients. Headline: empirical-Bayes posterior "
    "(mean, 95% interval, tail probabilities). Exposed: sum of tail probabilities; interval from "
    "the patients' own uncertainty, from learning the prior again on resampled patients and from "
    "narrower priors that the counts do not refute. Confirmed: Benjamini-Hochberg at 5% over all "
    "patients, on unshrunk counts, against models drawn again. Null: the same pipeline with each "
    "patient's membership permuted over the models."
)


def thresholds() -> tuple[float, ...]:
    """All AUCs above which patients are counted."""
    return tuple(sorted({*THRESHOLDS, *SURVIVAL_GRID}))


def patient_figures(
    layout: Layout, risk: PatientRisk, null: Null, *, seed: int, progress: Progress
) -> dict[str, Any]:
    """The "patients" object without record counts, one model, stability and planning.

    Parameters
    ----------
    layout : Layout
    risk, null : PatientRisk, Null
        With tail probabilities at :func:`thresholds`.
    seed : int
        The audit's seed.
    progress : Progress
    """
    usable = np.isfinite(risk.auc_raw)
    shown = np.isfinite(null.auc_raw)
    rng = generator(seed, Stage.BOOTSTRAP_PATIENTS)
    mean = risk.posterior.mean[usable]
    raw = risk.auc_raw[usable]
    # The mean of raw AUCs is unbiased, and its error over patients covers their noise as well.
    error = float(raw.std(ddof=1) / np.sqrt(raw.size)) if raw.size > 1 else 0.0
    progress.start("Exposed patients", REPLICATES)
    counts = exposed(risk, thresholds(), rng, progress)
    progress.finish()
    by_threshold = {c.threshold: c for c in counts}
    null_share = {t: null.above[t].mean for t in by_threshold}
    left_out = int((~usable).sum())
    reason = f"IN or OUT of fewer than {RAREST if layout.uneven else FEWEST_PER_CLASS} models"
    return {
        "attack": "joint",
        "count": layout.patients,
        "estimable": int(usable.sum()),
        "not_estimable": [{"reason": reason, "patients": left_out}] if left_out else [],
        "method": PATIENT_METHOD,
        "weights": risk.attack.strengths_for_summary(),
        "neighbours": risk.centring.neighbours.summary(),
        "auc": {
            "mean": float(raw.mean()),
            "mean_low": float(raw.mean() - NORMAL_95 * error),
            "mean_high": float(raw.mean() + NORMAL_95 * error),
            "median": float(np.median(mean)),
            "q99": float(np.quantile(mean, 0.99)),
        },
        "raw": _quantiles(raw) | {"null_mean": float(null.auc_raw[shown].mean())},
        "study": _quantiles(risk.study_max_auc[usable])
        | {"null_mean": float(null.study_max_auc[shown].mean())},
        "exposed": {
            str(t): {
                "estimate": by_threshold[t].estimate,
                "low": by_threshold[t].low,
                "high": by_threshold[t].high,
                "confirmed": by_threshold[t].confirmed,
                "null": null_share[t],
                "raw": by_threshold[t].raw,
                "raw_null": int((null.auc_raw[shown] > t).sum()),
                "study": by_threshold[t].study,
                "study_null": int((null.study_max_auc[shown] > t).sum()),
            }
            for t in THRESHOLDS
        },
        "few_models": few_models(risk, layout.models),
        "agreement": agreement(raw, mean),
        "survival": _survival(risk, null, by_threshold, null_share),
        "tpr_at_fpr": _patient_tpr(risk, usable),
    }


def agreement(raw: NDArray[np.float64], posterior: NDArray[np.float64]) -> dict[str, Any]:
    """Whether the counted AUCs and the posterior tell the same mean.

    The mean of counted AUCs is unbiased whatever the signals look like. A posterior whose mean lies
    further off than their errors allow has misread them, and so has every number made of it.

    Parameters
    ----------
    raw, posterior : float64 array, shape (patients,)
    """
    off = posterior - raw
    difference = float(off.mean())
    error = float(off.std(ddof=1) / np.sqrt(off.size)) if off.size > 1 else 0.0
    allowed = DISAGREEMENT_ERRORS * error + DISAGREEMENT_SLACK
    return {
        "raw_mean": float(raw.mean()),
        "posterior_mean": float(posterior.mean()),
        "difference": difference,
        "low": difference - NORMAL_95 * error,
        "high": difference + NORMAL_95 * error,
        "allowed": allowed,
        "agrees": bool(abs(difference) <= allowed),
    }


def _quantiles(x: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean": float(x.mean()),
        "median": float(np.median(x)),
        "q99": float(np.quantile(x, 0.99)),
    }


def _survival(
    risk: PatientRisk,
    null: Null,
    counts: dict[float, Any],
    null_share: dict[float, float],
) -> dict[str, list[float]]:
    """Shares of patients above each AUC."""
    usable, shown = np.isfinite(risk.auc_raw), np.isfinite(null.auc_raw)
    n, m = int(usable.sum()), int(shown.sum())
    grid = SURVIVAL_GRID
    return {
        "auc": list(grid),
        "joint": [counts[t].estimate / n for t in grid],
        "low": [counts[t].low / n for t in grid],
        "high": [counts[t].high / n for t in grid],
        "null": [null_share[t] / m for t in grid],
        "raw": [counts[t].raw / n for t in grid],
        "study": [counts[t].study / n for t in grid],
    }


def by_records(
    layout: Layout,
    risk: PatientRisk,
    null: Null,
    bands: ReleasedTable,
    *,
    seed: int,
    smallest_cell: int,
) -> list[dict[str, Any]]:
    """Risk by record count, in the bands of the cohort's table.

    Parameters
    ----------
    layout : Layout
    risk : PatientRisk
    null : Null
    bands : ReleasedTable
        How the bands may be published.
    seed : int
        The audit's seed.
    smallest_cell : int
    """

    def describe(place: tuple[int, tuple[str, NDArray[np.bool_]]]) -> dict[str, Any]:
        number, (name, band) = place
        here = band & np.isfinite(risk.auc_raw)
        there = band & np.isfinite(null.auc_raw)
        row: dict[str, Any] = {"records": name, "patients": int(here.sum())}
        if here.any() and there.any():
            raw = risk.auc_raw[here]
            share_low, share_high = share_interval(risk.posterior.tails[0.9][here])
            row |= {
                "mean_auc": float(risk.posterior.mean[here].mean()),
                "raw_mean_auc": float(raw.mean()),
                "null_mean_auc": float(null.auc_raw[there].mean()),
                "null_permutations": 1,
                "exposed_0.9": float(risk.posterior.tails[0.9][here].mean()),
                "exposed_0.9_low": share_low,
                "exposed_0.9_high": share_high,
                "raw_exposed_0.9": float((raw > 0.9).mean()),
                "study_exposed_0.9": float((risk.study_max_auc[here] > 0.9).mean()),
                "study_null_mean": float(null.study_max_auc[there].mean()),
            }
            # How often is published, and tells no more of the number than its rounding does.
            again = min(
                -(-NULL_PATIENTS // fewest(int(there.sum()), bands.base)), MOST_PERMUTATIONS
            )
            if again > 1:
                rng = generator(seed, Stage.NULL, "records", name)
                row["null_mean_auc"] = null_mean(
                    layout, risk.centring, np.flatnonzero(here), again, rng
                )
                row["null_permutations"] = again
        return _released_band(row, bands.steps.get(str(number), np.inf), bands.base, smallest_cell)

    return list(in_order(describe, enumerate(record_bands(layout.count, smallest_cell))))


def _released_band(
    row: dict[str, Any], step: float, base: int, smallest_cell: int
) -> dict[str, Any]:
    """A band as it may be published beside the tables of groups."""
    n = row["patients"]
    if is_small(n, smallest_cell):
        gone = dict.fromkeys(row) | {"records": row["records"], "rounded_to": None}
        return gone | {FEWER: {"patients": smallest_cell}}
    for name in ("raw_exposed_0.9", "study_exposed_0.9"):
        above = row.get(name, 0.0) * n
        if is_small(above, smallest_cell) or is_small(n - above, smallest_cell):
            row[name] = None
    made = {
        name: value
        if not isinstance(value, float)
        else supported(value, n, step)
        if np.isfinite(step)
        else None
        for name, value in row.items()
    }
    exposed = made.get("exposed_0.9")
    if exposed is not None:
        # The interval is that of the published share: another rounding would tell more of it.
        made |= share_of(float(exposed), fewest(n, base), step)
    made["patients"] = rounded_count(n, base)
    made["rounded_to"] = float(f"{step:.9g}") if np.isfinite(step) else None
    return made | ({"counts_rounded_to": base} if base > 1 else {})


def _patient_tpr(risk: PatientRisk, usable: NDArray[np.bool_]) -> dict[str, Any]:
    """Mean over patients of the TPR at a fixed FPR, as far as a patient's OUT models resolve it.

    Counted where most patients are OUT of at least 2 / FPR models; otherwise not estimable, because
    only a belief in the scores' distribution could tell.
    """
    result: dict[str, Any] = {}
    for fpr, counted in risk.tpr_raw.items():
        tpr = counted[usable & np.isfinite(counted)]
        one = {"mean": None, "low": None, "high": None, "n": 0, "extrapolated": False}
        if tpr.size < usable.sum() / 2:
            reason = f"counting it needs about {round(4 / fpr)} models"
            result[str(fpr)] = one | {"reason": reason, "method": TPR_METHOD}
            continue
        error = float(tpr.std(ddof=1) / np.sqrt(tpr.size)) if tpr.size > 1 else 0.0
        result[str(fpr)] = one | {
            # Bars extrapolated over the number of models may end a little beyond 0 or 1.
            "mean": float(np.clip(tpr.mean(), 0.0, 1.0)),
            "low": max(float(tpr.mean()) - NORMAL_95 * error, 0.0),
            "high": min(float(tpr.mean()) + NORMAL_95 * error, 1.0),
            "n": int(tpr.size),
            "method": TPR_METHOD,
        }
    return result

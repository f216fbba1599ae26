"""Everything right of the store: signals to the figures of the summary.

Only reads: no model is trained here. The same pipeline is run a second time with each patient's
membership permuted over the models, so every figure has its null beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.layout import FEWEST_PER_CLASS, Layout, lay_out
from auscult.attacks.record import ATTACKS, RECORD_ATTACKS
from auscult.attacks.roc import REPORTED_FPR, AggregateRoc, roc_of_attack
from auscult.base.errors import AnalysisError
from auscult.base.intervals import NORMAL_95
from auscult.base.parallel import in_order, let_go
from auscult.base.plugins import guarded
from auscult.base.progress import SILENT, Progress
from auscult.base.randomness import Stage, generator
from auscult.cohort.cohort import SMALLEST_CELL, record_bands
from auscult.cohort.design import Membership
from auscult.disclosure import Reports, is_small, outward, rounded_count, supported
from auscult.exposure.one_model import one_model
from auscult.protection.promise import promise
from auscult.risk.disparity import (
    crossings,
    disparities,
    share_interval,
    top_composition,
)
from auscult.risk.estimate import Estimate
from auscult.risk.exposed import REPLICATES, exposed, few_models
from auscult.risk.patients import (
    PATIENT_FPR,
    Null,
    PatientRisk,
    null_mean,
    null_risk,
    patient_risk,
)
from auscult.risk.prior import Shape
from auscult.risk.released import Released, ReleasedTable, release_groups
from auscult.risk.shrinkage import Covariates, shrink
from auscult.risk.signs import RecordRisk
from auscult.risk.stability import half_risks, planning, stability
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
AGGREGATE_METHOD = (
    "Every model a target, judged by the models of the other folds; mean over targets; ties count "
    "half; 95% interval by bootstrap over models and groups of patients."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What the analysis reads.

    Attributes
    ----------
    signals : float array, shape (models, records)
        Log-odds of the truth, or any signal that is higher for a better fit; finite.
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    groups : DataFrame, shape (patients, attributes)
    stratum : int64 array, shape (records,), optional
        Class of each record, for centring.
    utility : dict, optional
        Utility per attribute and group.
    dp : dict, optional
        The guarantee of private training.
    label : str, optional
        Which column of `groups` is the label's attribute.
    reports : Reports, optional
        What was published of these patients before.
    """

    signals: NDArray[np.floating]
    membership: Membership
    patient_of_record: NDArray[np.int64]
    groups: pd.DataFrame
    stratum: NDArray[np.int64] | None = None
    utility: dict[str, dict[str, dict[str, Any]]] | None = None
    dp: dict[str, Any] | None = None
    label: str | None = None
    reports: Reports | None = None


@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """Settings that change results.

    Attributes
    ----------
    smallest_cell : int
        Groups with fewer patients are not shown.
    intersections : tuple of pairs of str, optional
        Attributes to cross; when None the first three pairs of declared groups, and the label with
        each of the first three.
    label_group : bool
        Whether the label is compared as a group.
    attacks : tuple of str
        Attacks on records of other packages, which are run besides Auscult's own.
    ledger : Path, optional
        Folder of the release ledger; when None the one beside the run.
    count_base : int
        What numbers of patients are rounded to; 1 where only those are that give a small cell away.
    """

    smallest_cell: int = SMALLEST_CELL
    intersections: tuple[tuple[str, str], ...] | None = None
    label_group: bool = True
    attacks: tuple[str, ...] = ()
    ledger: Path | None = None
    count_base: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What the analysis found.

    Attributes
    ----------
    summary : dict
        Parts "aggregate", "patients" and "disparities" of the summary: aggregates only.
    patients : DataFrame
        One row per patient, in the cohort's order, without identifiers. A secret.
    records : DataFrame
        One row per record, in the cohort's order. A secret.
    """

    summary: dict[str, Any] = field(repr=False)
    patients: pd.DataFrame = field(repr=False)
    records: pd.DataFrame = field(repr=False)


def analyse(
    evidence: Evidence,
    *,
    seed: int,
    progress: Progress = SILENT,
    settings: AnalysisSettings | None = None,
) -> Findings:
    """Attack, assess patients and compare groups.

    Parameters
    ----------
    evidence : Evidence
    seed : int
        The audit's seed: null, bootstraps and permutations derive from it.
    progress : Progress
    settings : AnalysisSettings, optional

    Raises
    ------
    AnalysisError
        Shapes that do not fit, signals that are not finite, or nobody estimable.
    """
    settings = settings or AnalysisSettings()
    _check(evidence)
    layout = lay_out(
        evidence.signals,
        evidence.membership.reveal(),
        evidence.patient_of_record,
        evidence.stratum,
    )
    if not layout.estimable().any():
        raise AnalysisError(
            "no patient is a member of enough models",
            where="membership",
            expected=f"patients who are IN at least {FEWEST_PER_CLASS} models and OUT of as many",
        )
    wanted = tuple(sorted({*THRESHOLDS, *SURVIVAL_GRID}))
    progress.start("Patients", 2.5 * layout.patients)
    risk, records = patient_risk(
        layout, (0.9,), progress, numbered=wanted, rates=PATIENT_FPR, by_record=True
    )
    null = null_risk(layout, wanted, generator(seed, Stage.NULL), progress)
    halves = half_risks(layout, generator(seed, Stage.SPLIT_HALF))
    progress.finish()
    aggregate = _aggregate(layout, seed, settings.attacks, progress)
    names = [str(name) for name in evidence.groups.columns]
    pairs = settings.intersections
    if pairs is None:
        pairs = crossings(names, label=evidence.label)
    groups = release_groups(
        evidence.groups,
        np.isfinite(risk.auc_raw),
        layout.count,
        smallest_cell=settings.smallest_cell,
        intersections=pairs,
        reports=evidence.reports,
        label=evidence.label,
        base=settings.count_base,
    )
    patients = _patients_summary(layout, risk, null, seed, progress)
    patients["by_records"] = _by_records(
        layout, risk, null, seed, settings.smallest_cell, groups.bands
    )
    patients["one_model"] = one_model(
        layout, risk.attack, risk.centring, halves, seed=seed, smallest_cell=settings.smallest_cell
    )
    aucs = None if halves is None else halves.aucs
    patients["stability"] = stability(aucs, generator(seed, Stage.SPLIT_HALF, 1))
    patients["planning"] = planning(risk, layout.models)
    progress.start("Groups", len(names) + len(pairs))
    by_group = disparities(
        evidence.groups,
        risk,
        layout,
        seed=seed,
        smallest_cell=settings.smallest_cell,
        intersections=pairs,
        utility=evidence.utility,
        composition=None
        if aucs is None
        else top_composition(
            evidence.groups, aucs, smallest_cell=settings.smallest_cell, count=layout.count
        ),
        progress=progress,
        tables=groups.tables,
        step=groups.step,
    )
    progress.finish()
    if groups.step:
        patients["rounded_to"] = groups.step if np.isfinite(groups.step) else None
    summary = {
        "aggregate": aggregate,
        "patients": patients,
        "disparities": by_group,
        "disclosure": _disclosure(settings, groups),
    }
    if evidence.dp is not None:
        summary["guarantee"] = promise(
            layout,
            risk,
            evidence.dp,
            seed=seed,
            smallest_cell=settings.smallest_cell,
            bands=groups.bands,
        )
    patient_rows = _patient_rows(layout, risk)
    shapes = risk.posterior.shapes
    del risk, null, halves
    return Findings(
        summary=summary, patients=patient_rows, records=_record_rows(layout, records, shapes)
    )


def _disclosure(settings: AnalysisSettings, groups: Released) -> dict[str, Any]:
    """The "disclosure" object: how figures were released, and what stood in their way."""
    number = groups.earlier
    several = f"{number} earlier reports are" if number > 1 else "one earlier report is"
    note = (
        f"{several} about some of these patients (release ledger): where a patient would follow "
        "from setting the reports against each other, figures here are rounded more coarsely, "
        "pooled or withheld. The same cohort with the same groups is shown as before. If an "
        "earlier report was never handed out, delete its entry in the ledger and run again. If "
        "these are other people who happen to have the same identifiers, give them a ledger of "
        "their own (audit.ledger, or import --ledger) and run again"
    )
    return {
        "smallest_cell": settings.smallest_cell,
        "counts_rounded_to": settings.count_base,
        "earlier_reports": number,
        "note": "" if groups.alike else note,
    }


def _check(evidence: Evidence) -> None:
    models, records = evidence.signals.shape
    patients = evidence.membership.patients
    if evidence.membership.models != models:
        raise AnalysisError(
            f"there are signals of {models} models and membership of {evidence.membership.models}",
            where="signals",
        )
    if evidence.patient_of_record.shape != (records,) or len(evidence.groups) != patients:
        raise AnalysisError(
            f"{records} records, {evidence.patient_of_record.shape[0]} patient indices and "
            f"{len(evidence.groups)} rows of groups for {patients} patients do not fit",
            where="signals",
        )
    if np.bincount(evidence.patient_of_record, minlength=patients).min(initial=1) < 1:
        raise AnalysisError("some patients have no record", where="patient")
    broken = int((~np.isfinite(evidence.signals).all(axis=0)).sum())
    if broken:
        raise AnalysisError(
            f"{broken} of {records} records have a signal that is NaN or infinite",
            where="signals",
            expected="finite numbers",
            next_step="Look at the models' outputs: training may have diverged",
        )


def _aggregate(
    layout: Layout, seed: int, added: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """The "aggregate" object: one ROC per attack on records."""
    result: dict[str, Any] = {}
    attacks = (*RECORD_ATTACKS, *(ATTACKS.get(name, "audit.attacks") for name in added))
    progress.start("Attacks on records", 2 * layout.records * len(attacks))
    for attack in attacks:
        said = {"label": attack.label}
        if attack not in RECORD_ATTACKS:  # the report must not need its package
            said["what"] = attack.what
        reason = attack.supports(layout.models)
        if reason:
            result[attack.name] = said | {"auc": None, "reason": reason}
            continue
        rng = generator(seed, Stage.BOOTSTRAP_MODELS, attack.name)
        with guarded("attack", attack.name, "scoring", ATTACKS.origin(attack.name)):
            roc = roc_of_attack(attack, layout, rng, progress)
        result[attack.name] = said | _roc(roc)
    progress.finish()
    return result


def _roc(roc: AggregateRoc) -> dict[str, Any]:
    rates = {str(f): roc.tpr_at(f) for f in REPORTED_FPR}
    return {
        "auc": roc.auc,
        "low": roc.low,
        "high": roc.high,
        "targets": roc.targets,
        "out_records_per_target": roc.records,
        "method": AGGREGATE_METHOD,
        "tpr_at_fpr": {f: None if rate is None else rate[0] for f, rate in rates.items()},
        "tpr_at_fpr_interval": {
            f: None if rate is None else [rate[1], rate[2]] for f, rate in rates.items()
        },
        "roc": {
            "fpr": roc.fpr.tolist(),
            "tpr": roc.tpr.tolist(),
            "low": roc.tpr_low.tolist(),
            "high": roc.tpr_high.tolist(),
        },
    }


def _patients_summary(
    layout: Layout,
    risk: PatientRisk,
    null: Null,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """The "patients" object without stability and planning."""
    usable = np.isfinite(risk.auc_raw)
    shown = np.isfinite(null.auc_raw)
    rng = generator(seed, Stage.BOOTSTRAP_PATIENTS)
    mean = risk.posterior.mean[usable]
    raw = risk.auc_raw[usable]
    # The mean of raw AUCs is unbiased, and its error over patients covers their noise as well.
    error = float(raw.std(ddof=1) / np.sqrt(raw.size)) if raw.size > 1 else 0.0
    progress.start("Exposed patients", REPLICATES)
    counts = exposed(risk, tuple(sorted({*THRESHOLDS, *SURVIVAL_GRID})), rng, progress)
    progress.finish()
    by_threshold = {c.threshold: c for c in counts}
    null_share = {t: null.above[t].mean for t in by_threshold}
    left_out = int((~usable).sum())
    reason = f"IN or OUT of fewer than {FEWEST_PER_CLASS} models"
    return {
        "attack": "joint",
        "count": layout.patients,
        "estimable": int(usable.sum()),
        "not_estimable": [{"reason": reason, "patients": left_out}] if left_out else [],
        "method": PATIENT_METHOD,
        "weights": risk.attack.strengths_for_summary(),
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
        "few_models": few_models(risk),
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


def _by_records(
    layout: Layout,
    risk: PatientRisk,
    null: Null,
    seed: int,
    smallest_cell: int,
    bands: ReleasedTable,
) -> list[dict[str, Any]]:
    """Risk by record count, in the bands of the cohort's table."""

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
            again = min(-(-NULL_PATIENTS // int(there.sum())), MOST_PERMUTATIONS)
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
    if made.get("exposed_0.9") is not None:
        # The interval is that of the published share: another rounding would tell more of it.
        above = made["exposed_0.9"]
        low, high = outward(*share_interval(np.full(n, above)), step)
        made["exposed_0.9_low"], made["exposed_0.9_high"] = max(low, 0.0), min(high, 1.0)
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


def _patient_rows(layout: Layout, risk: PatientRisk) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "records": layout.count,
            "auc": risk.posterior.mean,
            "auc_low": risk.posterior.low,
            "auc_high": risk.posterior.high,
            "auc_raw": risk.auc_raw,
            "study_max_auc": risk.study_max_auc,
        }
    )


def _record_rows(layout: Layout, records: RecordRisk, shapes: dict[Shape, float]) -> pd.DataFrame:
    """Shrunken AUC of every record on its own, in the cohort's order."""
    signs = records.signs
    posterior = shrink(
        Estimate.of(records.counted),
        Covariates(values=signs.values, coupling=signs.coupling),
        shapes=shapes,
    )
    let_go(signs.values)
    columns = {
        "patient": layout.patient,
        "auc": posterior.mean,
        "auc_low": posterior.low,
        "auc_high": posterior.high,
    }
    del posterior
    for name in columns:
        back = np.empty_like(columns[name])
        back[layout.order] = columns[name]
        columns[name] = back
    return pd.DataFrame(columns, copy=False)

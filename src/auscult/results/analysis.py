"""Everything right of the store: signals to the figures of the summary.

Only reads: no model is trained here. The same pipeline is run a second time with each patient's
membership permuted over the models, so every figure has its null beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.layout import FEWEST_PER_CLASS, Layout, lay_out
from auscult.attacks.places import Places
from auscult.attacks.record import ATTACKS, RECORD_ATTACKS
from auscult.attacks.roc import REPORTED_FPR, AggregateRoc, roc_of_attack
from auscult.base.errors import AnalysisError
from auscult.base.parallel import MOST_AT_ONCE, beside, let_go
from auscult.base.plugins import guarded
from auscult.base.progress import SILENT, Progress, Relay
from auscult.base.randomness import Stage, generator
from auscult.cohort.cohort import SMALLEST_CELL
from auscult.cohort.design import Membership
from auscult.disclosure import Reports
from auscult.exposure.one_model import one_model
from auscult.protection.promise import promise
from auscult.results.in_common import in_common
from auscult.results.patient_figures import by_records, patient_figures, thresholds
from auscult.risk.composition import top_composition
from auscult.risk.disparity import crossings, disparities
from auscult.risk.estimate import Estimate
from auscult.risk.exposed import confirmed_above
from auscult.risk.factors import Known, traits
from auscult.risk.patients import (
    PATIENT_FPR,
    PatientRisk,
    null_risk,
    patient_risk,
)
from auscult.risk.prior import Shape
from auscult.risk.released import Released, release_groups
from auscult.risk.shrinkage import Covariates, shrink
from auscult.risk.signs import RecordRisk
from auscult.risk.stability import half_risks, not_halved, planning, stability

AGGREGATE_METHOD = (
    "Each model in turn is the target, judged by the models of the other folds; mean over "
    "targets; ties count half; 95% interval by bootstrap over models and groups of patients."
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
    places : Places, optional
        Where the records lie among each other, for controls from records nearby.
    known : Known, optional
        What the records hold, for what the exposed have in common.
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
    places: Places | None = None
    known: Known | None = None


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
    nearby : float32 array, shape (records, models), or None
        What records nearby say of each signal, in the cohort's order. A secret.
    in_common : dict
        What the exposed have in common, exactly. A secret.
    """

    summary: dict[str, Any] = field(repr=False)
    patients: pd.DataFrame = field(repr=False)
    records: pd.DataFrame = field(repr=False)
    nearby: NDArray[np.float32] | None = field(repr=False, default=None)
    in_common: dict[str, Any] = field(repr=False, default_factory=dict)


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
        evidence.places,
    )
    if not layout.estimable().any():
        raise AnalysisError(
            "no patient is a member of enough models",
            where="membership",
            expected=f"patients who are IN at least {FEWEST_PER_CLASS} models and OUT of as many",
        )
    wanted = thresholds()
    progress.start("Patients", 2.5 * layout.patients)
    risk, records = patient_risk(
        layout, (0.9,), progress, numbered=wanted, rates=PATIENT_FPR, by_record=True
    )
    halves = half_risks(layout, generator(seed, Stage.SPLIT_HALF), centring=risk.centring)
    names = [str(name) for name in evidence.groups.columns]
    pairs = settings.intersections
    if pairs is None:
        pairs = crossings(names, label=evidence.label)
    usable = np.isfinite(risk.auc_raw)
    dealt = generator(seed, Stage.SPLIT_HALF, "in common")
    shared = (
        None if halves is None else traits(layout, halves, evidence.known or Known(), usable, dealt)
    )
    relay = Relay()
    release = partial(
        release_groups,
        evidence.groups,
        usable,
        layout.count,
        smallest_cell=settings.smallest_cell,
        intersections=pairs,
        reports=evidence.reports,
        label=evidence.label,
        base=settings.count_base,
        effects=None if shared is None else shared.effects(),
        progress=relay,
    )
    # What may be published depends on who is in which group, and not on anybody's risk.
    with beside(release, apart=layout.patients > MOST_AT_ONCE) as released:
        rng = generator(seed, Stage.NULL)
        null = null_risk(layout, wanted, rng, progress, centring=risk.centring)
        progress.finish()
        single = one_model(
            layout,
            risk.attack,
            risk.centring,
            halves,
            seed=seed,
            smallest_cell=settings.smallest_cell,
        )
        aggregate = _aggregate(layout, seed, settings.attacks, progress)
        patients = patient_figures(layout, risk, null, seed=seed, progress=progress)
        groups = released(partial(relay.show, progress))
        progress.finish()
    common, exact_common = in_common(
        shared, groups.effects, dealt, base=settings.count_base, reason=not_halved(layout)
    )
    patients["by_records"] = by_records(
        layout, risk, null, groups.bands, seed=seed, smallest_cell=settings.smallest_cell
    )
    patients["one_model"] = single
    aucs = None if halves is None else halves.aucs
    patients["stability"] = stability(
        aucs, generator(seed, Stage.SPLIT_HALF, 1), not_halved(layout)
    )
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
        "in_common": common,
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
    shapes, nearby = risk.posterior.shapes, risk.centring.nearby
    del risk, null, halves
    return Findings(
        summary=summary,
        patients=patient_rows,
        records=_record_rows(layout, records, shapes),
        nearby=nearby,
        in_common=exact_common,
    )


def load_for_analysis() -> None:
    """Import what the analysis and the report are the first to need, and takes long to load.

    Called while workers train: they import their own libraries first, and cores wait for it.
    """
    for name in ("sklearn.ensemble", "pyarrow.parquet", "jinja2"):
        import_module(name)


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
        "labels_as_before": groups.label_alike,
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
            f"{len(evidence.groups)} rows of groups for {patients} patients do not match",
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
            next_step="Check the models' outputs: training may have diverged",
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


def _patient_rows(layout: Layout, risk: PatientRisk) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "records": layout.count,
            "auc": risk.posterior.mean,
            "auc_low": risk.posterior.low,
            "auc_high": risk.posterior.high,
            "auc_raw": risk.auc_raw,
            "study_max_auc": risk.study_max_auc,
            "above_0.9": risk.posterior.tails[0.9],
            "confirmed_0.9": confirmed_above(risk, 0.9),
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

"""From stored outputs to results: summary, groups, the secret rows, the report.

Everything here only reads what the store holds; the same outputs and settings give the same files,
byte for byte, whoever computed them and when.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.log_odds import signals_from_outputs
from auscult.base.errors import AuscultError
from auscult.base.files import write_bytes, write_json, write_whole
from auscult.base.parallel import let_go, one_thread
from auscult.base.progress import SILENT, Progress
from auscult.base.version import __version__
from auscult.cohort.design import Membership
from auscult.disclosure import Reports, released
from auscult.disclosure.ledger import FOLDER
from auscult.exposure import Inquiry, exposure_of
from auscult.protection.frontier import withdraw
from auscult.recipes.evidence import SURE, direction
from auscult.recipes.metrics import on
from auscult.release.assess import assess_release
from auscult.release.declaration import Asked
from auscult.report import groups_csv, officer_markdown, write_report
from auscult.report.summary import SCHEMA
from auscult.results.analysis import AnalysisSettings, Evidence, Findings, analyse
from auscult.results.lacking import lacking
from auscult.results.result import (
    COHORT,
    EXACT,
    GROUPS,
    IN_COMMON,
    NEARBY,
    OFFICER,
    PATIENTS,
    PROTECTED,
    RECORDS,
    RELEASE,
    REPORT,
    SIZES,
    SUMMARY,
    Result,
)
from auscult.results.roster import Planted, Roster, stratum_of
from auscult.risk.factors import Known
from auscult.risk.outcome import Attributes, findings
from auscult.risk.utility import model_utility
from auscult.store import Outputs, RunStore
from auscult.store.growth import identity_of
from auscult.store.seal import SEAL

LOG = logging.getLogger(__name__)


RELEASE_WEIGHTS = (
    "they were not handed in, and only its answers were looked at; somebody who has them may learn "
    "more, as the table of the deployment shows for the shadow models"
)


@one_thread()
def write_results(
    store: RunStore,
    roster: Roster,
    *,
    seed: int,
    settings: AnalysisSettings,
    asked: Asked | None = None,
    inquiry: Inquiry | None = None,
    progress: Progress = SILENT,
    parts: Mapping[str, Any] | None = None,
    protected: pd.DataFrame | None = None,
    by_size: pd.DataFrame | None = None,
) -> Result:
    """Analyse a finished store and write everything the run directory promises.

    Parameters
    ----------
    store : RunStore
        Open for writing, all blocks finished.
    roster : Roster
    seed : int
    settings : AnalysisSettings
    asked : Asked, optional
        What the model that is to go out answered.
    inquiry : Inquiry, optional
        What the models were asked besides the records, and for which deployment.
    progress : Progress
    parts : mapping, optional
        Further parts of the summary, for example "protection".
    protected : DataFrame, optional
        Rows of patients under each protection, see
        :func:`auscult.protection.comparison.audit_variants`.
    by_size : DataFrame, optional
        The same of every size, see :func:`auscult.sizes.curve.audit_sizes`.
    """
    LOG.info("Analysing %s", store.path)
    outputs = store.outputs()
    membership = store.read_membership()
    attributes = roster.attributes(label_group=settings.label_group)
    reports = Reports.open(
        store.path.absolute().parent / FOLDER if settings.ledger is None else settings.ledger,
        identity_of(store.manifest()),
        roster.patient_ids.reveal().tolist(),
    )
    found, models = _assess(
        outputs, membership, roster, attributes, seed, settings, inquiry, progress, reports
    )
    recipe = roster.recipe
    if recipe is not None:
        notes = [{"what": what, "count": count} for what, count in sorted(outputs.notes.items())]
        recipe = recipe | {"facts": outputs.facts, "notes": notes}
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "auscult": __version__,
        "title": roster.title,
        "cohort": roster.cohort,
        "recipe": recipe,
        "models": models,
        **found.summary,
        "label": _label(attributes, found),
        "exposure": _exposure(outputs, membership, roster, seed, settings, inquiry, progress),
        "deployment": inquiry.deployment.summary(scores=outputs.kind == "signal")
        if inquiry and inquiry.deployment
        else None,
        "protection": [],
        "decision": {},
        "release": None,
        **(parts or {}),
    }
    withdraw(summary["protection"], "; ".join(lacking(summary)))
    if asked is not None:
        summary["release"] = _release(
            store, roster, asked, outputs, membership, seed, settings, summary, inquiry, progress
        )
    else:
        store.secret_path(RELEASE).unlink(missing_ok=True)
    if roster.planted is not None:
        summary["planted"] = _planted(roster.planted, found.patients)
    _write_secrets(store, roster, attributes, found, inquiry)
    for name, rows in ((PROTECTED, protected), (SIZES, by_size)):
        if rows is None:
            store.secret_path(name).unlink(missing_ok=True)
        else:
            rows.insert(0, "patient", roster.patient_ids.reveal())
            _write_secret(store, name, rows)
    _write_cohort(store, roster, settings, inquiry)
    _write_nearby(store, found.nearby)
    write_json(store.secret_path(IN_COMMON), found.in_common, secret=True)
    # Which ledger differs from place to place; the same audit gives the same summary everywhere.
    store.update_manifest(ledger=reports.name)
    write_json(store.secret_path(EXACT), summary, secret=True)
    public = released(summary, settings.smallest_cell, settings.count_base)
    write_bytes(store.path / GROUPS, groups_csv(public).encode())
    write_summary(store.path, public)
    LOG.info("Results and report are written to %s", store.path)
    return Result(store.path)


def write_summary(run: Path, summary: dict[str, Any]) -> None:
    """Write the summary, the privacy officer's page and the report of a run.

    The seal goes first: a run that is killed here has none, rather than one of other results.
    """
    (run / SEAL).unlink(missing_ok=True)
    write_json(run / SUMMARY, summary)
    write_bytes(run / OFFICER, officer_markdown(summary).encode())
    write_report(summary, run / REPORT)


def _assess(
    outputs: Outputs,
    membership: Membership,
    roster: Roster,
    attributes: Attributes,
    seed: int,
    settings: AnalysisSettings,
    inquiry: Inquiry | None,
    progress: Progress,
    reports: Reports,
) -> tuple[Findings, dict[str, Any]]:
    labels = roster.labels
    known = _known_labels(roster, outputs)
    # Declared queries are attacks of their own; answers that were imported are averaged.
    queries = [0] if inquiry is not None else None
    withheld = None if inquiry is None else inquiry.withheld
    models, utility = model_utility(
        outputs,
        known,
        roster.task or "binary",
        membership,
        roster.patient_of_record,
        roster.groups,
        smallest_cell=settings.smallest_cell,
        queries=queries,
        withheld=withheld,
        metric=on(roster.metric, roster.truth),
    )
    signals = signals_from_outputs(outputs, known, queries)
    if outputs.kind == "signal" and roster.recipe is not None:
        models["signal"] = told_direction(
            signals,
            membership,
            roster.patient_of_record,
            str(outputs.facts.get("output", "score")),
        )
    stratum = None if labels is None else stratum_of(labels)
    patient_of_record, places, rows = roster.patient_of_record, roster.places, None
    if withheld is not None:
        # The patient is attacked with what was trained on; the other records are an attack apart.
        signals, patient_of_record = signals[:, ~withheld], patient_of_record[~withheld]
        places = None if places is None else places.take(~withheld)
        rows = np.flatnonzero(~withheld)
        stratum = None if stratum is None else stratum[~withheld]
    evidence = Evidence(
        signals=signals,
        membership=membership,
        patient_of_record=patient_of_record,
        groups=attributes.table,
        stratum=stratum,
        utility=utility,
        dp=outputs.facts.get("dp"),
        label=attributes.label,
        reports=reports,
        places=places,
        known=Known(
            inputs=roster.inputs,
            rows=rows,
            places=places,
            classes=roster.classes if labels is not None and labels.ndim == 1 else (),
        ),
    )
    return analyse(evidence, seed=seed, progress=progress, settings=settings), models


def told_direction(
    signals: NDArray[np.floating],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    name: str,
) -> dict[str, Any]:
    """Whether members are fitted better, as the declared name says: "signal" of the models.

    Parameters
    ----------
    signals : float array, shape (models, records)
        Higher for a better fit.
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    name : {"loss", "score"}
        What the recipe declared.
    """
    auc, distance = direction(signals, membership.reveal(), patient_of_record)
    inverted = distance <= -SURE
    other = "score" if name == "loss" else "loss"
    reason = (
        "members are fitted worse than others nearly everywhere (mean AUC of one record "
        f"{auc:.3f}, {-distance:.0f} standard errors below 0.5): the output was declared a {name} "
        f'and looks like a {other}. If it is one, say output = "{other}" and run again; the '
        "figures of this run use the sign as declared"
        if inverted
        else ""
    )
    return {"name": name, "mean_auc": auc, "inverted": inverted, "reason": reason}


def _label(attributes: Attributes, found: Findings) -> dict[str, Any]:
    """The "label" object of the summary."""
    said = attributes.summary()
    if attributes.label is not None:
        said["findings"] = findings(found.summary["disparities"][attributes.label])
    return said


def _known_labels(roster: Roster, outputs: Outputs) -> NDArray[Any]:
    if roster.truth is not None:
        return roster.truth
    return np.zeros(outputs.records, dtype=np.int64) if roster.labels is None else roster.labels


def _exposure(
    outputs: Outputs,
    membership: Membership,
    roster: Roster,
    seed: int,
    settings: AnalysisSettings,
    inquiry: Inquiry | None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """The "exposure" list; empty where nothing was declared that it would be about."""
    if inquiry is None:
        return []
    return exposure_of(
        outputs,
        _known_labels(roster, outputs),
        membership,
        roster.patient_of_record,
        None if roster.labels is None else stratum_of(roster.labels),
        inquiry,
        seed=seed,
        smallest_cell=settings.smallest_cell,
        progress=progress,
        places=roster.places,
    )


def _release(
    store: RunStore,
    roster: Roster,
    asked: Asked,
    outputs: Outputs,
    membership: Membership,
    seed: int,
    settings: AnalysisSettings,
    summary: dict[str, Any],
    inquiry: Inquiry | None,
    progress: Progress,
) -> dict[str, Any]:
    """Audit the release and write its rows; the "release" object of the summary."""
    if roster.labels is None and outputs.kind != "signal":
        raise AuscultError("a release needs the cohort's labels", where="release")
    known = _known_labels(roster, outputs)
    declared = summary.get("deployment") or {}
    found = assess_release(
        asked,
        outputs,
        membership,
        roster.patient_of_record,
        known,
        stratum=stratum_of(known if roster.labels is None else roster.labels),
        seed=seed,
        smallest_cell=settings.smallest_cell,
        priors=tuple(declared.get("prior") or ()),
        withheld=None if inquiry is None else inquiry.withheld,
        progress=progress,
        places=roster.places,
    )
    rows = found.rows
    rows.insert(0, "patient", roster.patient_ids.reveal())
    rows.insert(1, "records", np.bincount(roster.patient_of_record, minlength=len(rows)))
    _write_secret(store, RELEASE, rows)
    if inquiry is not None and inquiry.white_box and asked.opened is None:
        found.summary["white_box"] = {"assessed": False, "reason": RELEASE_WEIGHTS}
    return found.summary


def _planted(planted: Planted, patients: pd.DataFrame) -> dict[str, Any]:
    """What was planted and what was found, at an AUC above 0.9."""
    auc = patients["auc"].to_numpy()
    sides = {"planted": planted.patients, "others": ~planted.patients}
    return {
        "what": planted.what,
        "threshold": 0.9,
        **{
            name: {
                "patients": int(side.sum()),
                "found": int((auc[side] > 0.9).sum()),
                "mean_auc": float(auc[side].mean()),
            }
            for name, side in sides.items()
        },
    }


def _write_cohort(
    store: RunStore, roster: Roster, settings: AnalysisSettings, inquiry: Inquiry | None
) -> None:
    """Whose each record is and its label, so that finished runs can be compared."""
    arrays: dict[str, Any] = {
        "patient_of_record": roster.patient_of_record,
        "smallest_cell": np.int64(settings.smallest_cell),
        "asked_more": np.bool_(inquiry is not None),
    }
    if inquiry is not None and inquiry.withheld is not None:
        arrays["withheld"] = inquiry.withheld
    if roster.labels is not None:
        arrays["labels"] = roster.labels
    if roster.truth is not None:
        arrays["truth"] = roster.truth
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(store.secret_path(COHORT), content.getvalue(), secret=True)


def _write_nearby(store: RunStore, nearby: NDArray[np.float32] | None) -> None:
    """What records nearby say, so that finished runs can be compared without their inputs."""
    path = store.secret_path(NEARBY)
    if nearby is None:
        path.unlink(missing_ok=True)
    else:
        write_whole(path, lambda handle: np.save(handle, nearby), secret=True)
        let_go(nearby)


def _write_secrets(
    store: RunStore,
    roster: Roster,
    attributes: Attributes,
    found: Findings,
    inquiry: Inquiry | None,
) -> None:
    ids = roster.patient_ids.reveal()
    patients = found.patients.copy()
    patients.insert(0, "patient", ids)
    taken = set(patients.columns)
    for name in attributes.table.columns:
        # A group column may be called "auc" or "patient": it keeps its name with a mark.
        patients[f"group {name}" if name in taken else name] = attributes.table[name].to_numpy()
    records = found.records.copy()
    records["patient"] = ids[records["patient"].to_numpy()]
    if inquiry is None or inquiry.withheld is None:
        records.insert(0, "record", roster.record_rows)
    else:
        records.insert(0, "record", roster.record_rows[~inquiry.withheld])
        others = np.flatnonzero(inquiry.withheld)
        rows = {
            "record": roster.record_rows[others],
            "patient": ids[roster.patient_of_record[others]],
        }
        records = pd.concat(
            [records.assign(withheld=False), pd.DataFrame(rows).assign(withheld=True)]
        )
    _write_secret(store, PATIENTS, patients)
    _write_secret(store, RECORDS, records)


def _write_secret(store: RunStore, name: str, table: pd.DataFrame) -> None:
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    write_bytes(store.secret_path(name), content.getvalue(), secret=True)

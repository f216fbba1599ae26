"""The table of a deployment: every access, every knowledge, and the declared one by means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.attacks.access import (
    NAMES,
    SCORE,
    WHITE_BOX,
    Access,
    access_signals,
    answers_seen,
    parse_access,
)
from auscult.attacks.further import Weighed, with_further
from auscult.attacks.layout import FEWEST_PER_CLASS, AsTheyCome, Centring, Layout, lay_out
from auscult.attacks.more import more_seen
from auscult.attacks.places import Places
from auscult.base.errors import AnalysisError
from auscult.base.intervals import NORMAL_95
from auscult.base.progress import SILENT, Progress
from auscult.base.randomness import Stage, generator
from auscult.cohort.design import Membership
from auscult.cohort.queries import PLAIN, parse_queries, places
from auscult.exposure.cell import How, attack, exposed_patients, null_of
from auscult.exposure.deployment import (
    ALL,
    ONE_RECORD,
    OTHER_RECORDS,
    REFERENCES,
    USUAL_PRIORS,
    Deployment,
)
from auscult.exposure.meaning import METHOD, meaning
from auscult.store import Outputs

FEW_REFERENCES_METHOD = (
    " Reference models: drawn for each target; a patient's mean signal is compared with what they "
    "predict for members and for others. AUC over all people, PPV and named patients also use what "
    "takes fewer models, where that tells patients apart who had no part in learning how: the "
    "signal itself, and, where inputs are known, its place among non-members alike (quantile "
    "regression)."
)


LOGITS = "logits"
DOES_NOT_APPLY = (
    "it does not apply: the models give one number per record (a loss or a score), from which "
    "neither probabilities nor a label can be derived"
)
FEW_KNOW_LESS = "how to weigh them is learned from as many models as the audit has"
MOST_POINTS = 4_000_000  # patients times models of a cell: beyond, an even sample of patients


@dataclass(frozen=True, kw_only=True, eq=False)
class Inquiry:
    """What the models were asked besides the records, and for which deployment.

    Attributes
    ----------
    queries : tuple of str
        As declared.
    withheld : bool array, shape (records,), optional
        Records that no model trained on. A secret.
    deployment : Deployment, optional
    white_box : bool
        Whether models were looked into as they were trained.
    """

    queries: tuple[str, ...] = ()
    withheld: NDArray[np.bool_] | None = field(default=None, repr=False)
    deployment: Deployment | None = None
    white_box: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What an attacker holds: which records, and which answers to them.

    Attributes
    ----------
    name, label : str
    records : int64 array
        Rows of the records, ascending.
    queries : list of int
        Places of the answers.
    """

    name: str
    label: str
    records: NDArray[np.int64]
    queries: list[int]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One entry of the table."""

    access: Access
    known: Known
    references: int | str
    declared: bool


def exposure_of(
    outputs: Outputs,
    labels: NDArray[np.int64],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    stratum: NDArray[np.int64] | None,
    asked: Inquiry,
    *,
    seed: int,
    smallest_cell: int,
    progress: Progress = SILENT,
    places: Places | None = None,
) -> list[dict[str, Any]]:
    """The "exposure" list of the summary.

    Parameters
    ----------
    outputs : Outputs
    labels : int64 array, shape (records,) or (records, labels)
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    stratum : int64 array, shape (records,), optional
    asked : Inquiry
    seed : int
    smallest_cell : int
        A cell of fewer patients is not estimated.
    progress : Progress
        Advanced by one per cell.
    places : Places, optional
        Where all records lie among each other.
    """
    if asked.white_box and not outputs.inside:
        raise AnalysisError(
            "audit.white_box is declared, but the models tell nothing of their weights",
            where="outputs",
            expected="a recipe whose blocks name what the weights say (BlockOutputs.inside)",
        )
    table = cells(asked, patient_of_record, seed, scores=outputs.kind == "signal")
    progress.start("Deployment", len(table))
    signals: dict[tuple[Access, tuple[int, ...]], NDArray[np.float32]] = {}
    trained: dict[Access, NDArray[np.float64]] = {}
    every = max(1, -(-membership.patients * membership.models // MOST_POINTS))
    found: dict[tuple[str, str], NDArray[np.float64]] = {}
    entries = []
    for cell in table:
        entry = _described(cell, outputs.queries)
        if (outputs.kind == "signal") != (cell.access.name == SCORE):
            entry["reason"] = DOES_NOT_APPLY
            entries.append(entry)
            progress.advance()
            continue
        key = (cell.access, answers_seen(cell.access, cell.known.queries, asked.queries))
        if key not in signals:
            signals = {k: v for k, v in signals.items() if k[0] == cell.access}
            signals[key] = access_signals(outputs, labels, cell.access, key[1])
        entry["queries"] = len(key[1])
        layout, patients = _layout(
            signals[key],
            membership,
            patient_of_record,
            stratum,
            cell.known.records[patient_of_record[cell.known.records] % every == 0],
            places,
        )
        # Who holds the records themselves can ask of them whatever was declared.
        besides = asked.queries if cell.known.queries == [0] else ()
        more = more_seen(outputs, labels, cell.access, key[1], besides)
        if more is not None:
            weighed = Weighed(names=more.names, used=False, reason=FEW_KNOW_LESS)
            if cell.references == ALL:
                layout, weighed = with_further(layout, more)
                entry["queries"] += outputs.queries - 1 if weighed.used and besides else 0
            entry["further"] = weighed.summary()
        if every > 1:
            entry["method"] += f" Patients: one of every {every}, evenly; counts refer to these."

        usable = int(layout.estimable().sum())
        without = membership.patients - patients.size if every == 1 else 0
        if usable < smallest_cell:
            entry["reason"] = _too_few(usable, smallest_cell)
        elif 0 < without < smallest_cell:
            entry["reason"] = (
                f"fewer than {smallest_cell} patients have no such records, and figures for the "
                "others would reveal something about them"
            )
        else:
            entry["patients"] = usable
            weighed_in = entry.get("further", {}).get("used")
            centring = AsTheyCome() if weighed_in else None  # they are centred already
            raw = _fill(entry, cell, layout, asked.deployment, seed, centring)
            whole = np.full(membership.patients, np.nan)
            whole[patients] = raw
            if cell.references == ALL and cell.known.name == PLAIN:
                trained[cell.access] = whole
            elif cell.known.name == OTHER_RECORDS and cell.access in trained:
                same = np.isfinite(whole)
                entry["compared"] = {
                    "knowledge": PLAIN,
                    "patients": int(same.sum()),
                    "auc": _mean(trained[cell.access][same]),
                }
            if cell.references == ALL:
                found[(cell.access.name, cell.known.name)] = whole
                black = found.get((LOGITS, cell.known.name))
                if cell.access.name == WHITE_BOX and black is not None:
                    entry["beyond"] = _beyond(whole, black)
        entries.append(entry)
        progress.advance()
    progress.finish()
    return entries


def cells(
    asked: Inquiry, patient_of_record: NDArray[np.int64], seed: int, *, scores: bool = False
) -> list[Cell]:
    """Every access with every knowledge, and what few reference models reach.

    Parameters
    ----------
    asked : Inquiry
    patient_of_record : int64 array, shape (records,)
    seed : int
    scores : bool
        Whether the models give one number per record: the other accesses are listed all the same.
    """
    deployment = asked.deployment
    usual = SCORE if scores else "probabilities"
    mine = parse_access(deployment.access if deployment and deployment.access else usual)
    accesses = [
        mine if name == mine.name else parse_access(name)
        for name in ((SCORE, *NAMES) if scores else NAMES)
    ]
    accesses += [parse_access(WHITE_BOX)] if asked.white_box else []
    accesses += [] if mine.name in (SCORE, WHITE_BOX, *NAMES) else [mine]
    knowledge = list(_knowledge(asked, patient_of_record, seed))
    held = deployment.knowledge if deployment else PLAIN
    means = deployment.references if deployment else None
    table = [
        Cell(
            access=access,
            known=known,
            references=ALL,
            declared=means == ALL and access == mine and known.name == held,
        )
        for access in accesses
        for known in knowledge
    ]
    known = next((one for one in knowledge if one.name == held), knowledge[0])
    few = sorted({*REFERENCES, *([means] if isinstance(means, int) else [])})
    return table + [Cell(access=mine, known=known, references=n, declared=n == means) for n in few]


def _knowledge(asked: Inquiry, patient_of_record: NDArray[np.int64], seed: int) -> Iterator[Known]:
    """What attackers may hold, from the records themselves to distorted ones."""
    withheld = asked.withheld
    everything = np.arange(patient_of_record.size)
    kept = everything if withheld is None else np.flatnonzero(~withheld)
    yield Known(name=PLAIN, label="the records trained on", records=kept, queries=[0])
    if np.bincount(patient_of_record[kept]).max() > 1:
        draws = generator(seed, Stage.EXPOSURE, 2).random(patient_of_record.size)
        order = kept[np.lexsort((draws[kept], patient_of_record[kept]))]
        _, first = np.unique(patient_of_record[order], return_index=True)
        yield Known(
            name=ONE_RECORD,
            label="one record trained on",
            records=np.sort(order[first]),
            queries=[0],
        )
    else:
        yield Known(
            name=ONE_RECORD,
            label="one record trained on (nobody has more)",
            records=kept,
            queries=[0],
        )
    if withheld is not None and withheld.any():
        yield Known(
            name=OTHER_RECORDS,
            label="other records",
            records=np.flatnonzero(withheld),
            queries=[0],
        )
    where = places(asked.queries)
    for query in parse_queries(asked.queries):
        if query.kind != "augmented":
            yield Known(name=query.text, label=query.label, records=kept, queries=where[query.text])


def _layout(
    signals: NDArray[np.float32],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    stratum: NDArray[np.int64] | None,
    records: NDArray[np.int64],
    places: Places | None,
) -> tuple[Layout, NDArray[np.int64]]:
    """Signals of some records, laid out; and which patients have one."""
    patients, place = np.unique(patient_of_record[records], return_inverse=True)
    layout = lay_out(
        signals[:, records],
        membership.reveal()[:, patients],
        place.astype(np.int64),
        None if stratum is None else stratum[records],
    )
    layout = replace(layout, number=patients, order=records[layout.order], places=places)
    return layout, patients


def _described(cell: Cell, queries: int) -> dict[str, Any]:
    return {
        "access": cell.access.name,
        "access_label": cell.access.label,
        "knowledge": cell.known.name,
        "knowledge_label": cell.known.label,
        "references": cell.references,
        "queries": min(queries, 1),
        "declared": cell.declared,
        "patients": 0,
        "auc": {"mean": None, "low": None, "high": None, "null_mean": None},
        "exposed": {},
        "by_prior": [],
        "method": METHOD + ("" if cell.references == ALL else FEW_REFERENCES_METHOD),
    }


def _fill(
    entry: dict[str, Any],
    cell: Cell,
    layout: Layout,
    deployment: Deployment | None,
    seed: int,
    centring: Centring | None = None,
) -> NDArray[np.float64]:
    """Attack a cell, write what it finds into its entry, return the patients' AUCs."""
    how = How(
        references=cell.references,
        signed=cell.known.name == OTHER_RECORDS,
        seed=seed,
        inputs=cell.known.name in (PLAIN, ONE_RECORD, OTHER_RECORDS),
    )
    found = attack(layout, how, centring)
    raw, evidence = found.risk.auc_raw, found.evidence
    if cell.references:
        null = null_of(layout, how, found.risk.centring)
        entry["auc"] = _mean(raw) | {"null_mean": float(np.nanmean(null.auc_raw))}
        entry["exposed"] = exposed_patients(found.risk, null, seed)
    entry["over_all"] = {"auc": evidence.auc()}
    priors = {*USUAL_PRIORS, *(deployment.priors if deployment else ())}
    entry["by_prior"] = meaning(
        evidence,
        tuple(sorted(priors)),
        deployment.prevalence if deployment else None,
        entry["patients"],
    )
    entry["calibration"] = evidence.calibration()
    if not entry["by_prior"]:
        entry["reason"] = (
            "too few models and patients to resolve a false positive rate of 10%: no PPV"
        )
    return raw


def _mean(raw: NDArray[np.float64]) -> dict[str, float]:
    """Mean over patients of an unbiased AUC, with the interval of that mean."""
    known = raw[np.isfinite(raw)]
    mean = float(known.mean())
    error = float(known.std(ddof=1) / np.sqrt(known.size)) if known.size > 1 else 0.0
    return {"mean": mean, "low": mean - NORMAL_95 * error, "high": mean + NORMAL_95 * error}


def _beyond(whole: NDArray[np.float64], black: NDArray[np.float64]) -> dict[str, Any]:
    """What who has the weights learns beyond who has the outputs, patient by patient."""
    difference = whole - black
    known = np.isfinite(difference)
    return {
        "access": LOGITS,
        "patients": int(known.sum()),
        "auc": _mean(black[known]),
        "difference": _mean(difference),
    }


def _too_few(patients: int, smallest_cell: int) -> str:
    if patients:
        return f"fewer than {smallest_cell} patients have such records: too few to show"
    return f"no patient is IN and OUT of {FEWEST_PER_CLASS} models and has such records"

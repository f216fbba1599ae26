"""What `check` says: the cohort, what training takes, how precise the answer will be."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from auscult.base.parallel import available_memory
from auscult.base.progress import duration
from auscult.disclosure import is_small
from auscult.report.words import visible
from auscult.risk.outcome import Attributes
from auscult.risk.pooling import pool_small_cells
from auscult.risk.stability import models_needed, planning_without_pilot
from auscult.training.cost import (
    Cost,
    Trial,
    VariantTrial,
    expected,
    expected_of_variant,
    expected_of_variants,
    in_bytes,
)
from auscult.training.engines import Engine
from auscult.training.repeat import Repeat
from auscult.training.shared import sharing_words

if TYPE_CHECKING:
    from auscult.audit import Audit
    from auscult.cohort import Cohort

PLANNED_AUC = 0.9


def describe_cohort(cohort: Cohort, cell: int, attributes: Attributes) -> str:
    """The cohort as counts, for a terminal; groups under `cell` patients are pooled.

    Parameters
    ----------
    cohort : Cohort
    cell : int
        Smallest number of patients that is shown.
    attributes : Attributes
    """
    summary = cohort.summary(cell)
    lines = [
        f"Cohort   {summary['source']}: {cohort.records:,} records of {cohort.patients:,} patients",
        f"Task     {cohort.task}: "
        + ", ".join(
            f"{c['name']} (fewer than {cell} patients)"
            if c["records"] is None
            else f"{c['name']} {c['records']:,}"
            for c in summary["classes"]
        ),
        "Records  "
        + ", ".join(
            f"{band['patients']:,} patients with {band['records']}"
            for band in summary["records_per_patient"]["bands"]
        ),
    ]
    for name, counts in shown_groups(attributes, cell).items():
        first = list(counts.items())[:8]
        shown = ", ".join(f"{visible(group)} {number:,}" for group, number in first)
        more = f", {len(counts) - 8} more" if len(counts) > 8 else ""
        lines.append(f"Group    {visible(name)}: {shown or f'all under {cell} patients'}{more}")
    if attributes.reason:
        lines.append(f"Group    the label is not compared: {attributes.reason}")
    for one in cohort.left_out:
        few = f"fewer than {cell}" if is_small(one.records, cell) else f"{one.records:,}"
        lines.append(f"Left out {few} records: {one.reason}")
    lines += [f"Note     {note}" for note in cohort.notes]
    return "\n".join(lines)


def shown_groups(attributes: Attributes, cell: int) -> dict[str, dict[str, int]]:
    """Patients of each group of each attribute; groups under `cell` patients are pooled."""
    found = {}
    for name in attributes.table.columns:
        labels, groups, _ = pool_small_cells(attributes.table[name].astype(str).to_numpy(), cell)
        found[str(name)] = {str(group): int((labels == group).sum()) for group in groups}
    return found


def cost_of(audit: Audit, trial: Trial, workers: int | None) -> tuple[int, Cost]:
    """How many workers there will be, and what the audit will take.

    Parameters
    ----------
    audit : Audit
    trial : Trial
    workers : int or None
        Worker processes; one per core when None.
    """
    count = min(Engine(workers=workers).hands(audit.recipe), math.ceil(audit.models / trial.models))
    return count, expected(
        trial,
        models=audit.models,
        records=audit.cohort.records,
        patients=audit.cohort.patients,
        workers=count,
        cells=audit.exposure_cells,
    )


def warnings_of(
    audit: Audit, trial: Trial, variants: Sequence[VariantTrial], workers: int | None
) -> list[str]:
    """What the text of `check` warns of.

    Parameters
    ----------
    audit : Audit
    trial : Trial
    variants : sequence of VariantTrial
    workers : int or None
    """
    text = describe_trial(audit, trial, workers)
    if variants:
        text += "\n" + describe_variants(audit, trial, variants, workers)
    start = "Warning  "
    return [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]


def describe_trial(audit: Audit, trial: Trial, workers: int | None) -> str:
    """What training one block took, and what the audit will take.

    Parameters
    ----------
    audit : Audit
    trial : Trial
    workers : int or None
        Worker processes; one per core when None.
    """
    count, cost = cost_of(audit, trial, workers)
    promised = trial.facts.get("dp")
    told = {name: v for name, v in trial.facts.items() if name not in ("dp", "white_box")}
    facts = ", ".join(f"{name} {value}" for name, value in told.items())
    each = duration_of(trial.seconds / trial.models)
    plural = "s" if count > 1 else ""
    whole = duration_of(cost.training_seconds + cost.analysis_seconds)
    lines = [
        f"Model    one takes {each} on one core, {trial.models} trained ({facts})",
        (
            f"Audit    {audit.models} models with {count} worker{plural}: about {whole} "
            f"(training {duration_of(cost.training_seconds)}, analysis "
            f"{duration_of(cost.analysis_seconds)})"
        ),
        f"Memory   about {in_bytes(cost.memory_bytes)}",
        f"Disk     about {in_bytes(cost.disk_bytes)}",
    ]
    if promised is not None:
        lines.append(
            "Promise  "
            + ", ".join(
                f"{name} {promised[name]}"
                for name in ("unit", "epsilon", "delta", "noise", "clip", "rate", "steps")
            )
        )
    lines += [f"Note     {what}: {n}" for what, n in trial.notes.items()]
    if fitted := audit.recipe.settings().get("fitted"):
        lines.append(f"Note     the estimator was fitted {fitted}")
    lines += repeat_lines(trial.repeat)
    if trial.written:
        lines.append(f"Warning  {sharing_words(trial.written)}")
    if audit.queries:
        lines.append(
            f"Queries  {'; '.join(audit.queries)}: every model answers {audit.answers} times per "
            "record instead of once, declared now because models are not asked again later "
            f"({in_bytes(trial.output_bytes * (1 - 1 / audit.answers))} of the disk)"
        )
    if audit.withhold:
        lines.append(
            f"Withheld {audit.withheld_count:,} records are left out of all training: the attack "
            "on the rest is the one that a patient with fewer records faces"
        )
    if audit.white_box:
        looked = trial.facts.get("white_box", {})
        lines.append(
            f"Weights  with each answer every model tells: {', '.join(looked.get('signals', []))}"
            ", at the cost of a gradient"
            + (f" ({looked['reason']})" if looked.get("reason") else "")
        )
    if audit.exposure_cells:
        lines.append(f"Exposure {audit.exposure_cells} cells: accesses, knowledges, means")
    available = available_memory()
    if available is not None and available < cost.memory_bytes:
        lines.append(
            f"Warning  {in_bytes(available)} of memory are available: use fewer workers (--workers)"
        )
    free = shutil.disk_usage(".").free
    if free < cost.disk_bytes:
        lines.append(f"Warning  {in_bytes(free)} are free on this disk: use another (run --out)")
    return "\n".join(lines)


def repeat_lines(repeat: Repeat | None, of: str = "") -> list[str]:
    """Whether training again gave the same numbers."""
    if repeat is None:
        return []
    models = f"{repeat.models} model{'s' if repeat.models > 1 else ''}"
    if not repeat.different:
        return [] if of else [f"Repeat   {models} trained again: the same answers, bit for bit"]
    return [f"Warning  {of}{models} {repeat.words}. The report will say so"]


def variant_costs(
    audit: Audit, trial: Trial, variants: Sequence[VariantTrial], workers: int | None
) -> tuple[list[Cost | None], Cost]:
    """What each variant takes, None without models of its own, and what all take with the audit.

    Parameters
    ----------
    audit : Audit
    trial : Trial
        Of the audit itself.
    variants : sequence of VariantTrial
    workers : int or None
    """
    count, _ = cost_of(audit, trial, workers)
    size = {
        "models": audit.models,
        "records": audit.cohort.records,
        "patients": audit.cohort.patients,
        "workers": count,
    }
    own, added = expected(trial, **size), expected_of_variants(variants, **size)
    return (
        [expected_of_variant(one, **size) for one in variants],
        Cost(
            training_seconds=own.training_seconds + added.training_seconds,
            analysis_seconds=own.analysis_seconds + added.analysis_seconds,
            memory_bytes=max(own.memory_bytes, added.memory_bytes),
            disk_bytes=own.disk_bytes + added.disk_bytes,
        ),
    )


def describe_variants(
    audit: Audit, trial: Trial, variants: Sequence[VariantTrial], workers: int | None
) -> str:
    """What the variants will take, each and with the audit.

    Parameters
    ----------
    audit : Audit
    trial : Trial
        Of the audit itself.
    variants : sequence of VariantTrial
    workers : int or None
        Worker processes; one per core when None.
    """
    costs, together = variant_costs(audit, trial, variants, workers)
    lines = []
    for one, cost in zip(variants, costs, strict=True):
        if one.trial is None or cost is None:
            lines.append(f"Variant  {visible(one.name)}: no models of its own")
        else:
            each = duration_of(one.trial.seconds / one.trial.models)
            number = "" if one.models is None else f"{one.models} models, "
            lines.append(
                f"Variant  {visible(one.name)}: {number}a model takes {each}, training "
                f"{duration_of(cost.training_seconds)}"
            )
            if one.trial is not trial and one.models is None:
                lines += repeat_lines(one.trial.repeat, f"{visible(one.name)}: ")
    training, analysis = together.training_seconds, together.analysis_seconds
    disk = together.disk_bytes
    lines.append(
        f"Together about {duration_of(training + analysis)} (training {duration_of(training)}, "
        f"analysis {duration_of(analysis)}), disk about {in_bytes(disk)}"
    )
    free = shutil.disk_usage(".").free
    if free < disk:
        lines.append(f"Warning  {in_bytes(free)} are free on this disk: use another (run --out)")
    return "\n".join(lines)


def planned(
    models: int, pilot: dict[str, Any] | None, share: float = 0.5
) -> tuple[list[dict[str, Any]], str]:
    """Widths of a patient's interval by number of models, and what they rest on.

    Parameters
    ----------
    models : int
        The number that is configured.
    pilot : dict, optional
        Summary of a finished run of a similar audit.
    share : float
        Of the models that a patient is IN.
    """
    if pilot is None:
        basis = f"unshrunk, at an AUC of {PLANNED_AUC}; --pilot RUN uses your patients"
        return planning_without_pilot(PLANNED_AUC, models, share), basis
    return pilot["patients"]["planning"], f"from the pilot's {pilot['models']['count']} models"


def describe_planning(
    models: int, width: float, pilot: dict[str, Any] | None, share: float = 0.5
) -> str:
    """How precise a patient's AUC will be, and how many models a wanted precision needs.

    Parameters
    ----------
    models : int
        The number that is configured.
    width : float
        Wanted width of a patient's 95% interval.
    pilot : dict, optional
        Summary of a finished run of a similar audit.
    share : float
        Of the models that a patient is IN.
    """
    rows, basis = planned(models, pilot, share)
    widths = ", ".join(f"{row['models']} models {row['interval_width']:.2f}" for row in rows)
    needed = models_needed(rows, width)
    answer = f"{needed} models" if needed else f"more than {rows[-1]['models']} models"
    return (
        f"Plan     width of a patient's 95% interval ({basis}): {widths}\n"
        f"         a width of {width:g} needs {answer}"
    )


def duration_of(seconds: float) -> str:
    """A duration that may be shorter than a second."""
    return f"{seconds:.2f} s" if seconds < 10 else duration(seconds)

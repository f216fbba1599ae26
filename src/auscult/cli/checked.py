"""What `check` found, as one object: the figures that its text shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from auscult.cli.describing import cost_of, planned, shown_groups, variant_costs, warnings_of
from auscult.disclosure import is_small
from auscult.risk.stability import models_needed
from auscult.training.cost import Trial, VariantTrial
from auscult.training.repeat import Repeat

if TYPE_CHECKING:
    from auscult.audit import Audit

SCHEMA = "auscult.check/1"


def checked(
    audit: Audit,
    trial: Trial,
    variants: Sequence[VariantTrial],
    *,
    workers: int | None,
    width: float,
    pilot: dict[str, Any] | None,
    release: dict[str, Any] | None,
    carries: Sequence[str],
) -> dict[str, Any]:
    """The object of ``auscult check --json``; docs/command-line.md has its keys.

    Parameters
    ----------
    audit : Audit
    trial : Trial
    variants : sequence of VariantTrial
    workers : int or None
    width : float
        Wanted width of a patient's 95% interval.
    pilot : dict, optional
        Summary of a finished run of a similar audit.
    release : dict, optional
        What querying the released model will do, and what a trial of it told.
    carries : sequence of str
        What one fitted model contains of its training data.
    """
    hands, cost = cost_of(audit, trial, workers)
    rows, basis = planned(audit.models, pilot, audit.share_of_members)
    return {
        "cohort": _cohort(audit),
        "release": release,
        "model": {
            "trained": trial.models,
            "seconds": trial.seconds / trial.models,
            "facts": trial.facts,
            "notes": [{"what": what, "count": n} for what, n in trial.notes.items()],
            "repeat": _repeat(trial.repeat),
            "carries": list(carries),
        },
        "audit": {
            "models": audit.models,
            "workers": hands,
            "answers_per_record": audit.answers,
            "withheld_records": audit.withheld_count,
            "exposure_cells": audit.exposure_cells,
            **asdict(cost),
        },
        "variants": _variants(audit, trial, variants, workers),
        "planning": {
            "basis": basis,
            "widths": rows,
            "width": width,
            "models": models_needed(rows, width) or None,
        },
        "warnings": warnings_of(audit, trial, variants, workers),
    }


def _cohort(audit: Audit) -> dict[str, Any]:
    cell = audit.smallest_cell
    told = audit.cohort.summary(cell)
    told["left_out"] = [
        {"reason": one.reason, "records": None, "fewer_than": {"records": cell}}
        if is_small(one.records, cell)
        else {"reason": one.reason, "records": one.records}
        for one in audit.cohort.left_out
    ]
    attributes = audit.attributes()
    told["groups"] = {
        name: [{"name": group, "patients": count} for group, count in counts.items()]
        for name, counts in shown_groups(attributes, cell).items()
    }
    told["label_not_compared"] = attributes.reason or None
    return told


def _repeat(found: Repeat | None) -> dict[str, Any] | None:
    return None if found is None else found.summary()


def _variants(
    audit: Audit, trial: Trial, variants: Sequence[VariantTrial], workers: int | None
) -> dict[str, Any] | None:
    if not variants:
        return None
    each, together = variant_costs(audit, trial, variants, workers)
    return {
        "each": [
            {
                "name": one.name,
                "seconds": None if one.trial is None else one.trial.seconds / one.trial.models,
                "training_seconds": None if cost is None else cost.training_seconds,
                "repeat": None
                if one.trial in (None, trial) or one.models is not None
                else _repeat(one.trial.repeat),
                **({} if one.models is None else {"models": one.models}),
            }
            for one, cost in zip(variants, each, strict=True)
        ],
        "with_the_audit": {
            key: value for key, value in asdict(together).items() if key != "memory_bytes"
        },
    }

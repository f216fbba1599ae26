"""Every variant beside the base, as entries of the summary; nothing here trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.parallel import one_thread
from auscult.base.progress import Progress
from auscult.cohort import Cohort
from auscult.protection.assessment import (
    Assessment,
    Subject,
    answers_to,
    assess,
    signals_of,
    utility_of,
)
from auscult.protection.frontier import Side, entry, recommend
from auscult.protection.onion import layers
from auscult.protection.plans import Plan, is_base
from auscult.protection.runs import allowed_records, opened, patients_kept
from auscult.recipes.base import Recipe
from auscult.store import Outputs, RunStore


@one_thread()
def audit_variants(
    store: RunStore,
    found: Sequence[Plan],
    cohort: Cohort,
    recipe: Recipe,
    subject: Subject,
    skipped: Mapping[str, str],
    *,
    models: int,
    progress: Progress,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None, pd.DataFrame]:
    """Assess every variant beside the base.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    found : sequence of Plan
    cohort : Cohort
    recipe : Recipe
        The unprotected one.
    subject : Subject
    skipped : mapping of str to str
        Why a variant was not trained, by slug.
    models : int
        Models of the audit.
    progress : Progress

    Returns
    -------
    protection : list of dict
        One entry per protection, in the order given.
    sweep : dict or None
    rows : DataFrame
        One row per patient, a secret: "auc", "low" and "high" without protection, and for the k-th
        protection "auc k", "low k" and "high k", or "left out k" where it trains without some
        patients.
    """
    outputs = store.outputs()
    progress.start("Protections", 2.0 * cohort.patients * (1 + len(found)))
    _, signals = signals_of(outputs, subject, None)
    base = Side(
        risk=assess(signals, subject, progress=progress),
        utility=utility_of(outputs, subject),
        facts=outputs.facts,
        models=models,
    )
    rows = pd.DataFrame(_of_patients(base.risk))
    entries: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for plan in found:
        if plan.slug in skipped:
            one: dict[str, Any] = {
                "name": plan.name,
                "kind": plan.variant.kind,
                "change": plan.change,
                "reason": skipped[plan.slug],
                "recommended": False,
            }
            (points if plan.sweep else entries).append(one)
            continue
        with ExitStack() as stack:
            own = outputs
            if plan.variant.trains and not is_base(plan, recipe):
                own = stack.enter_context(opened(store, plan, cohort, models, subject)).outputs()
            handed, seen = signals_of(own, subject, plan.variant.access)
            notes = _notes(plan, own, subject)
            if plan.variant.removes:
                removed = ~patients_kept(
                    allowed_records(store, plan.variant, cohort, subject), cohort
                )
                one = layers(
                    plan.name,
                    plan.variant.kind,
                    plan.change,
                    base=base,
                    signals=seen,
                    removed=removed,
                    utility=utility_of(handed, subject),
                    facts=own.facts,
                    subject=subject,
                    compared=_compared(found),
                    notes=notes,
                )
                if not plan.sweep:
                    rows[f"left out {len(entries)}"] = removed
                progress.advance(2 * cohort.patients)
            else:
                side = Side(
                    risk=assess(seen, subject, progress=progress),
                    utility=utility_of(handed, subject),
                    facts=own.facts,
                    models=models,
                )
                if not plan.sweep:
                    rows = rows.assign(**_of_patients(side.risk, f" {len(entries)}"))
                one = entry(
                    name=plan.name,
                    kind=plan.variant.kind,
                    change=plan.change,
                    before=base,
                    after=side,
                    subject=subject,
                    compared=_compared(found),
                    notes=notes,
                )
        if plan.sweep:
            one["base"] = is_base(plan, recipe)
            points.append(one)
        else:
            entries.append(one)
    recommend(entries)
    progress.finish()
    sweep = {"keys": sorted({k for p in found if p.sweep for k in p.change.get("recipe", {})})}
    return entries, sweep | {"points": points} if points else None, rows


def _of_patients(found: Assessment, mark: str = "") -> dict[str, NDArray[np.float64]]:
    posterior = found.risk.posterior
    return {
        f"auc{mark}": posterior.mean,
        f"low{mark}": posterior.low,
        f"high{mark}": posterior.high,
    }


def _compared(found: Sequence[Plan]) -> int:
    return max(1, sum(not plan.sweep for plan in found))


def _notes(plan: Plan, outputs: Outputs, subject: Subject) -> list[str]:
    notes = [f"{what}: {count:,}" for what, count in sorted(outputs.notes.items())]
    access = plan.variant.access
    if access is not None and access.label_only:
        views = len(answers_to(outputs, subject, access)) - len(subject.plain(outputs))
        notes.append(
            f"the attacker asks about {views} augmented views of each record as well"
            if views
            else "only the recipe's own queries are asked: an attacker who may query perturbed "
            "copies of a record learns more than this"
        )
    if access is not None and access.temperature is not None and access.digits is None:
        notes.append("a known temperature is undone by the attacker")
    notes += dict.fromkeys(change.note for change in plan.variant.changes if change.note)
    return notes

"""Trains the variants of an audit beside it, each into a run of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from auscult.base.progress import Progress
from auscult.cohort import Cohort
from auscult.cohort.design import Membership
from auscult.protection.assessment import (
    Subject,
)
from auscult.protection.plans import Plan, trained
from auscult.protection.runs import allowed_records, keep_selection, opened
from auscult.protection.selection import (
    Selection,
    find_twins,
)
from auscult.recipes.base import Recipe
from auscult.store import RunStore
from auscult.training.dispatch import REPEATED, train
from auscult.training.engines import Engine

LOG = logging.getLogger(__name__)


class Whole:
    """One bar over several stores' models.

    Parameters
    ----------
    progress : Progress
    models : int
        Of all stores together.
    """

    def __init__(self, progress: Progress, models: int) -> None:
        self._progress = progress
        progress.start("Models", models)

    def start(self, label: str, total: float) -> None:
        """A store begins; the bar goes on."""

    def advance(self, steps: float = 1.0) -> None:
        """Report steps done."""
        self._progress.advance(steps)

    def finish(self) -> None:
        """A store ends; the bar goes on."""

    def end(self) -> None:
        """All stores are finished."""
        self._progress.finish()


def train_variants(
    store: RunStore,
    found: Sequence[Plan],
    cohort: Cohort,
    recipe: Recipe,
    membership: Membership,
    subject: Subject,
    *,
    models: int,
    engine: Engine,
    progress: Progress,
) -> dict[str, str]:
    """Train the models of all variants; the audit's own are finished.

    The store's manifest then names those that gave other numbers when they were trained again.

    Parameters
    ----------
    store : RunStore
        The audit's run, open for writing.
    found : sequence of Plan
        How each variant is run.
    cohort : Cohort
    recipe : Recipe
        The unprotected one.
    membership : Membership
        Of the audit; the variants' models have the same members.
    subject : Subject
    models : int
        Models of the audit.
    engine : Engine
    progress : Progress

    Returns
    -------
    dict of str to str
        Why a variant was not trained, by slug.
    """
    skipped = {}
    unlike: dict[str, Any] = {}
    for plan in trained(found, recipe):
        chosen = allowed_records(store, plan.variant, cohort, subject)
        LOG.info("Training %s", plan.name)
        if isinstance(chosen, str):
            LOG.info("%s is not trained: %s", plan.name, chosen)
            skipped[plan.slug] = chosen
            progress.advance(models)
            continue
        selected = chosen if plan.variant.selects else None
        with opened(store, plan, cohort, models, subject, selected) as own:
            own.write_membership(membership)
            if plan.variant.selects:
                keep_selection(own, chosen)
            tolerance = plan.variant.deduplicate
            twins = None if tolerance is None else find_twins(cohort, tolerance)
            selection = Selection(membership, chosen, twins)
            train(
                cohort.training_data(share=subject.steps),
                plan.recipe,
                selection if plan.variant.selects else membership,
                cohort.patient_of_record,
                own,
                seed=subject.seed,
                engine=engine,
                progress=progress,
                withheld=subject.withheld,
            )
            own.update_manifest(recipe={"kind": plan.recipe.kind, "change": plan.change})
            if own.manifest()[REPEATED].get("different"):
                unlike[plan.name] = own.manifest()[REPEATED]
    if unlike:
        store.update_manifest(**{REPEATED: store.manifest()[REPEATED] | {"variants": unlike}})
    return skipped

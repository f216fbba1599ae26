"""Trains the sizes of an audit beside it, each into a run of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from auscult.base.errors import RecipeError
from auscult.base.progress import Progress
from auscult.cohort.design import HALF, Design
from auscult.protection.plans import digest
from auscult.recipes.kinds import identity_of
from auscult.sizes.shares import Size
from auscult.sizes.stored import opened, trained
from auscult.store import RunStore
from auscult.training.dispatch import REPEATED, train
from auscult.training.engines import Engine

if TYPE_CHECKING:
    from auscult.audit.audit import Audit

LOG = logging.getLogger(__name__)


def fingerprint_of(audit: Audit, design: Design, *, asked: bool = True) -> dict[str, str]:
    """What makes a run of an audit's models this run.

    Parameters
    ----------
    audit : Audit
    design : Design
        Of its models, or of those of a size.
    asked : bool
        Whether they answer the audit's queries.
    """
    return {
        "cohort": audit.cohort.fingerprint(),
        "recipe": digest(identity_of(audit.recipe)),
        "models": str(design.models),
        "seed": str(audit.seed),
        **({"queries": "; ".join(audit.queries)} if audit.queries and asked else {}),
        **({"withhold": f"{audit.withhold:g}"} if audit.withhold else {}),
        **({"share": f"{design.share:g}"} if design.share != HALF else {}),
    }


def train_sizes(store: RunStore, audit: Audit, *, engine: Engine, progress: Progress) -> None:
    """Train the models of all sizes; the audit's own are finished.

    The store's manifest then names those that gave other numbers when they were trained again.

    Parameters
    ----------
    store : RunStore
        The audit's run, open for writing.
    audit : Audit
    engine : Engine
    progress : Progress
    """
    unlike: dict[str, Any] = {}
    for size in trained(audit.size_plans()):
        LOG.info("Training on %s", size.name)
        fingerprint = fingerprint_of(audit, size.design, asked=False)
        with opened(store, size, audit.cohort, audit.recipe, fingerprint) as own:
            membership = size.design.membership()
            own.write_membership(membership)
            with _at(size):
                train(
                    audit.cohort.training_data(share=size.share),
                    audit.recipe,
                    membership,
                    audit.cohort.patient_of_record,
                    own,
                    seed=audit.seed,
                    engine=engine,
                    progress=progress,
                    withheld=audit._withheld(),
                )
            settings = {"kind": audit.recipe.kind, "settings": audit.recipe.settings()}
            own.update_manifest(recipe=settings)
            if own.manifest()[REPEATED].get("different"):
                unlike[size.name] = own.manifest()[REPEATED]
    if unlike:
        before = store.manifest()[REPEATED]
        variants = {**before.get("variants", {}), **unlike}
        store.update_manifest(**{REPEATED: before | {"variants": variants}})


@contextmanager
def _at(size: Size) -> Iterator[None]:
    """Say at which size it was that a recipe could not train."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(
            error.what,
            where=f"audit.sizes, {size.name}" + (f": {error.where}" if error.where else ""),
            expected=error.expected,
            next_step=error.next_step,
        ) from error


def held_by(audit: Audit) -> str:
    """What the recipe keeps the same at every size: "epochs", or its "settings" as they are."""
    return "epochs" if "epochs" in audit.recipe.settings() else "settings"

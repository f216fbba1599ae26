"""Where a variant's models are kept, and which records they may be trained on.

Each variant that trains is a run of its own in ``RUN/protection/<change>/``, with blocks, secrets
and a fingerprint of its own: resuming works for each. All use the base's membership.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import StoreError
from auscult.base.files import write_bytes
from auscult.base.opening import npz_arrays
from auscult.cohort import Cohort
from auscult.cohort.design import MINIMUM_PATIENTS
from auscult.protection.assessment import (
    Subject,
    signals_of,
)
from auscult.protection.onion import chosen_on_half
from auscult.protection.plans import Plan, digest, trained
from auscult.protection.selection import (
    within_cap,
)
from auscult.protection.variants import Variant
from auscult.recipes.base import Recipe
from auscult.store import BlockPlan, RunStore, missing_blocks, plan_blocks

FOLDER = "protection"
LEFT_OUT = "left-out.npz"


@contextmanager
def opened(
    store: RunStore, plan: Plan, cohort: Cohort, models: int, subject: Subject
) -> Iterator[RunStore]:
    """The run of a variant's models, locked for writing.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    plan : Plan
    cohort : Cohort
    models : int
    subject : Subject
    """
    settings = {"kind": plan.recipe.kind, "settings": plan.recipe.settings()}
    with RunStore.create_or_resume(
        store.path / FOLDER / plan.slug,
        fingerprint={
            "cohort": cohort.fingerprint(),
            "recipe": digest(settings),
            "protection": digest(plan.change.get("cohort", {})),
            "models": str(models),
            "seed": str(subject.seed),
            **({} if subject.withheld is None else {"withheld": _digest_of(subject.withheld)}),
        },
        configuration=None,
        blocks=_blocks(plan, cohort, models),
        records=cohort.records,
    ) as own:
        yield own


def _blocks(plan: Plan, cohort: Cohort, models: int) -> tuple[BlockPlan, ...]:
    return plan_blocks(models, plan.recipe.block_models(cohort.training_data(), models))


def lacking(
    store: RunStore, found: Sequence[Plan], cohort: Cohort, recipe: Recipe, models: int
) -> int:
    """How many models of the variants are still to be trained.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    found : sequence of Plan
    cohort : Cohort
    recipe : Recipe
        The unprotected one.
    models : int
        Models of the audit.
    """
    total = 0
    for plan in trained(found, recipe):
        blocks = _blocks(plan, cohort, models)
        path = store.path / FOLDER / plan.slug
        if (path / "manifest.json").exists():
            total += sum(len(b.models) for b in missing_blocks(blocks, RunStore.open(path)))
        else:
            total += models
    return total


def allowed_records(
    store: RunStore, variant: Variant, cohort: Cohort, subject: Subject
) -> NDArray[np.bool_] | str:
    """Records that may be trained on, or why nothing can be left out.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    variant : Variant
    cohort : Cohort
    subject : Subject
    """
    allowed = np.ones(cohort.records, dtype=bool)
    if variant.max_records is not None:
        allowed &= within_cap(
            cohort.patient_of_record, variant.max_records, subject.seed, subject.withheld
        )
    if variant.removes:
        _, signals = signals_of(store.outputs(), subject, None)
        removed = chosen_on_half(
            signals,
            subject,
            threshold=variant.without_exposed,
            share=variant.without_top,
        )
        count, left = int(removed.sum()), int((~removed).sum())
        if count < subject.smallest_cell:
            return (
                f"fewer than {subject.smallest_cell} patients would be left out: nothing to "
                "compare, and too few to show"
            )
        if left < MINIMUM_PATIENTS:
            return f"fewer than {MINIMUM_PATIENTS} patients would be left"
        allowed &= ~removed[cohort.patient_of_record]
    return allowed


def patients_kept(allowed: NDArray[np.bool_] | str, cohort: Cohort) -> NDArray[np.bool_]:
    """Patients of whom any record may be trained on, shape (patients,)."""
    kept = np.zeros(cohort.patients, dtype=bool)
    if not isinstance(allowed, str):
        kept[cohort.patient_of_record[allowed]] = True
    return kept


def keep_selection(own: RunStore, allowed: NDArray[np.bool_]) -> None:
    """Write which records may be trained on, mode 0600; the same again is no change."""
    path = own.secret_path(LEFT_OUT)
    if path.exists():
        found = npz_arrays(path, str(path), StoreError, names=["allowed"])
        same = "allowed" in found and np.array_equal(found["allowed"], allowed)
        if not same:
            raise StoreError(
                "the variant was trained on other records than would be chosen now",
                where=str(own.path),
                next_step="Delete this folder and run again: it is trained anew",
            )
        return
    content_bytes = io.BytesIO()
    np.savez_compressed(content_bytes, allowed=allowed)
    write_bytes(path, content_bytes.getvalue(), secret=True)


def _digest_of(withheld: NDArray[np.bool_]) -> str:
    return hashlib.sha256(np.packbits(withheld).tobytes()).hexdigest()

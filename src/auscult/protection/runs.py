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
from auscult.base.randomness import Stage, generator
from auscult.cohort import Cohort
from auscult.cohort.design import HALF, steps_like, wave_of
from auscult.protection.assessment import (
    Subject,
    signals_of,
)
from auscult.protection.changes import Choosing, chosen
from auscult.protection.plans import Plan, digest, trained
from auscult.protection.variants import Variant
from auscult.recipes.base import Recipe
from auscult.recipes.kinds import identity_of
from auscult.store import BlockPlan, RunStore, plan_blocks

FOLDER = "protection"
LEFT_OUT = "left-out.npz"


@contextmanager
def opened(
    store: RunStore,
    plan: Plan,
    cohort: Cohort,
    models: int,
    subject: Subject,
    allowed: NDArray[np.bool_] | None = None,
) -> Iterator[RunStore]:
    """The run of a variant's models, locked for writing; it grows with the audit.

    Which records a variant leaves out may follow from the audit's models. Where more of them make
    another choice, all of the variant's models are trained again.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    plan : Plan
    cohort : Cohort
    models : int
    subject : Subject
    allowed : bool array, shape (records,), optional
        Records that its models may be trained on, for a variant that leaves some out.
    """
    with RunStore.create_or_resume(
        store.path / FOLDER / plan.slug,
        fingerprint={
            "cohort": cohort.fingerprint(),
            "recipe": digest(identity_of(plan.recipe)),
            "protection": digest(plan.change.get("cohort", {})),
            "models": str(models),
            "seed": str(subject.seed),
            **({} if subject.withheld is None else {"withheld": _digest_of(subject.withheld)}),
            **({"share": f"{subject.share:g}"} if subject.share != HALF else {}),
            **steps_like(subject.steps, subject.share),
        },
        configuration=None,
        blocks=_blocks(plan, cohort, models),
        records=cohort.records,
        wave=wave_of(subject.share),
    ) as own:
        if allowed is not None and own.growing and _other_selection(own, allowed):
            own.begin_anew(LEFT_OUT)
        yield own


def _blocks(plan: Plan, cohort: Cohort, models: int) -> tuple[BlockPlan, ...]:
    return plan_blocks(models, plan.recipe.blocks(cohort.training_data(), models))


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
            own = RunStore.open(path)
            there = {b for b in own.blocks if own.has_block(b.block)}
            total += sum(len(b.models) for b in blocks if b not in there)
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
    for change in variant.changes:
        place = int.from_bytes(hashlib.sha256(change.name.encode()).digest()[:4], "big")
        found = chosen(
            change,
            Choosing(
                data=cohort.training_data(share=subject.steps),
                patient_of_record=cohort.patient_of_record,
                withheld=subject.withheld,
                rng=generator(subject.seed, Stage.PROTECTION_CHOICE, place),
                subject=subject,
                signals=lambda: signals_of(store.outputs(), subject, None)[1],
            ),
        )
        if isinstance(found, str):
            return found
        allowed &= found
        if change is variant.choice and not _of_everybody(allowed, cohort, subject):
            return (
                "some patients would have no record left to train on: they would look protected "
                "because no model was trained on them"
            )
    return allowed


def _of_everybody(allowed: NDArray[np.bool_], cohort: Cohort, subject: Subject) -> bool:
    """Whether a record of every patient who may be trained on is left."""
    withheld = np.zeros(cohort.records, dtype=bool)
    if subject.withheld is not None:
        withheld = subject.withheld
    return bool(patients_kept(allowed & ~withheld, cohort).all())


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
        if _other_selection(own, allowed):
            raise StoreError(
                "the variant was trained on different records from those that would be chosen now",
                where=str(own.path),
                next_step="Delete this folder and run again: it is then retrained",
            )
        return
    content_bytes = io.BytesIO()
    np.savez_compressed(content_bytes, allowed=allowed)
    write_bytes(path, content_bytes.getvalue(), secret=True)


def _other_selection(own: RunStore, allowed: NDArray[np.bool_]) -> bool:
    """Whether a variant's models were trained on other records than may be trained on now."""
    path = own.path / "secret" / LEFT_OUT
    if not path.exists():
        return False
    found = npz_arrays(path, str(path), StoreError, names=["allowed"])
    return "allowed" not in found or not np.array_equal(found["allowed"], allowed)


def _digest_of(withheld: NDArray[np.bool_]) -> str:
    return hashlib.sha256(np.packbits(withheld).tobytes()).hexdigest()

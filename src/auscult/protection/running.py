"""Trains the variants of an audit beside it and puts them into the summary.

Each variant that trains is a run of its own in ``RUN/protection/<change>/``, with blocks, secrets
and a fingerprint of its own: resuming works for each. All use the base's membership.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.cohort import Cohort
from auscult.crews import Engine
from auscult.design import MINIMUM_PATIENTS, Membership
from auscult.engine import train
from auscult.errors import ConfigError, RecipeError, StoreError
from auscult.files import write_bytes
from auscult.progress import Progress
from auscult.protection.assessment import (
    Subject,
    answers_to,
    assess,
    signals_of,
    utility_of,
)
from auscult.protection.frontier import Side, entry, recommend
from auscult.protection.onion import chosen_on_half, layers
from auscult.protection.selection import (
    Selection,
    find_twins,
    refuse_too_many_to_compare,
    within_cap,
)
from auscult.protection.variants import Variant
from auscult.recipes.base import Recipe
from auscult.store import BlockPlan, Outputs, RunStore, missing_blocks, plan_blocks

FOLDER = "protection"
LEFT_OUT = "left-out.npz"
MODELS_FOR_HALVES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A variant as it will be run.

    Attributes
    ----------
    variant : Variant
    name : str
    slug : str
        Folder under ``protection/``.
    change : dict
    recipe : Recipe
    sweep : bool
        A size of the sweep instead of a protection.
    """

    variant: Variant
    name: str
    slug: str
    change: dict[str, Any]
    recipe: Recipe
    sweep: bool


def plans(
    protect: Sequence[Variant],
    sweep: Sequence[Variant],
    cohort: Cohort,
    recipe: Recipe,
    models: int,
) -> list[Plan]:
    """Check all variants and say how each is run.

    Raises
    ------
    ConfigError, RecipeError
        A variant cannot be, does not fit the cohort, or stands twice.
    """
    base = recipe.settings()
    found: list[Plan] = []
    for place, variant in enumerate([*protect, *sweep]):
        is_sweep = place >= len(protect)
        where = f"sweep[{place - len(protect)}]" if is_sweep else f"protect[{place}]"
        variant.check(where)
        refuse_too_many_to_compare(cohort, variant.deduplicate, f"{where}.cohort")
        if variant.removes and models < MODELS_FOR_HALVES:
            raise ConfigError(
                f"{models} models are too few to choose on one half and tell on the other",
                where=f"{where}.cohort",
                expected=f"at least {MODELS_FOR_HALVES}",
            )
        own = variant.recipe or recipe
        if variant.recipe is not None:
            same = (own.kind, own.settings()) == (recipe.kind, base)
            if same and not is_sweep and not variant.selects:
                raise ConfigError("its recipe is the audit's own", where=f"{where}.recipe")
            reason = own.supports(cohort.training_data())
            if reason is not None:
                raise RecipeError(reason, where=f"{where}.recipe")
        plan = Plan(
            variant=variant,
            name=variant.title(base),
            slug=variant.slug(base),
            change=variant.change(base),
            recipe=own,
            sweep=is_sweep,
        )
        for other in found:
            if other.sweep == is_sweep and other.name == plan.name:
                raise ConfigError(f'"{plan.name}" stands twice', where=where)
        found.append(plan)
    return found


def is_base(plan: Plan, recipe: Recipe) -> bool:
    """Whether a plan is the audit's own recipe, which a sweep may name as one of its sizes."""
    if plan.variant.selects or plan.variant.access is not None:
        return False
    return (plan.recipe.kind, plan.recipe.settings()) == (recipe.kind, recipe.settings())


def trained(found: Sequence[Plan], recipe: Recipe) -> list[Plan]:
    """One plan for each set of models that is to be trained beside the audit's."""
    unique = {p.slug: p for p in found if p.variant.trains and not is_base(p, recipe)}
    return list(unique.values())


@contextmanager
def opened(
    store: RunStore, plan: Plan, cohort: Cohort, models: int, subject: Subject
) -> Iterator[RunStore]:
    """The run of a variant's models, locked for writing."""
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
    """How many models of the variants are still to be trained."""
    total = 0
    for plan in trained(found, recipe):
        blocks = _blocks(plan, cohort, models)
        path = store.path / FOLDER / plan.slug
        if (path / "manifest.json").exists():
            total += sum(len(b.models) for b in missing_blocks(blocks, RunStore.open(path)))
        else:
            total += models
    return total


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

    Returns
    -------
    dict of str to str
        Why a variant was not trained, by slug.
    """
    skipped = {}
    for plan in trained(found, recipe):
        chosen = _allowed(store, plan.variant, cohort, subject)
        if isinstance(chosen, str):
            skipped[plan.slug] = chosen
            progress.advance(models)
            continue
        with opened(store, plan, cohort, models, subject) as own:
            own.write_membership(membership)
            if plan.variant.selects:
                _keep_selection(own, chosen)
            tolerance = plan.variant.deduplicate
            twins = None if tolerance is None else find_twins(cohort, tolerance)
            selection = Selection(membership, chosen, twins)
            train(
                cohort.training_data(),
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
    return skipped


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
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Assess every variant beside the base.

    Returns
    -------
    protection : list of dict
        One entry per protection, in the order given.
    sweep : dict or None
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
                removed = ~_patients_kept(_allowed(store, plan.variant, cohort, subject), cohort)
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
                progress.advance(2 * cohort.patients)
            else:
                side = Side(
                    risk=assess(seen, subject, progress=progress),
                    utility=utility_of(handed, subject),
                    facts=own.facts,
                    models=models,
                )
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
    return entries, sweep | {"points": points} if points else None


def digest(value: Any) -> str:  # noqa: ANN401
    """SHA-256 of settings."""
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of(withheld: NDArray[np.bool_]) -> str:
    return hashlib.sha256(np.packbits(withheld).tobytes()).hexdigest()


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no setting")


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
            else "only the queries of the recipe itself are asked: an attacker who may ask for "
            "perturbed copies of a record learns more than this"
        )
    if access is not None and access.temperature is not None and access.digits is None:
        notes.append("a known temperature is undone by the attacker")
    if plan.variant.max_records is not None or plan.variant.deduplicate is not None:
        notes.append("records that are not trained on are scored and attacked like the others")
    return notes


def _allowed(
    store: RunStore, variant: Variant, cohort: Cohort, subject: Subject
) -> NDArray[np.bool_] | str:
    """Records that may be trained on, or why nothing can be left out."""
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


def _patients_kept(allowed: NDArray[np.bool_] | str, cohort: Cohort) -> NDArray[np.bool_]:
    kept = np.zeros(cohort.patients, dtype=bool)
    if not isinstance(allowed, str):
        kept[cohort.patient_of_record[allowed]] = True
    return kept


def _keep_selection(own: RunStore, allowed: NDArray[np.bool_]) -> None:
    """Write which records may be trained on, mode 0600; the same again is no change."""
    path = own.secret_path(LEFT_OUT)
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as content:
                same = np.array_equal(content["allowed"], allowed)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StoreError("the file is damaged", where=str(path)) from error
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

"""How each variant of an audit is run, checked before anything is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auscult.base.errors import ConfigError, RecipeError
from auscult.cohort import Cohort
from auscult.cohort.design import HALF, Design
from auscult.protection.selection import (
    refuse_too_many_to_compare,
)
from auscult.protection.variants import Variant
from auscult.recipes.base import Recipe


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
    design: Design,
) -> list[Plan]:
    """Check all variants and say how each is run.

    Parameters
    ----------
    protect, sweep : sequence of Variant
    cohort : Cohort
    recipe : Recipe
        The unprotected one.
    design : Design
        Of the audit's models.

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
        if variant.removes and not design.halves_carry(design.models):
            raise ConfigError(
                f"{design.models} models are too few to choose on one half and measure on the "
                f"other{'' if design.share == HALF else f', at a share of {design.share:g}'}",
                where=f"{where}.cohort",
                expected=f"at least {_models_for_halves(design)}",
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
                raise ConfigError(f'"{plan.name}" is listed twice', where=where)
        found.append(plan)
    return found


def _models_for_halves(design: Design) -> int:
    """The smallest number of models either half of which tells IN from OUT for every patient."""
    models = design.models
    while not design.halves_carry(models):
        models += 2
    return models


def is_base(plan: Plan, recipe: Recipe) -> bool:
    """Whether a plan is the audit's own recipe, which a sweep may name as one of its sizes."""
    if plan.variant.selects or plan.variant.access is not None:
        return False
    return (plan.recipe.kind, plan.recipe.settings()) == (recipe.kind, recipe.settings())


def trained(found: Sequence[Plan], recipe: Recipe) -> list[Plan]:
    """One plan for each set of models that is to be trained beside the audit's."""
    unique = {p.slug: p for p in found if p.variant.trains and not is_base(p, recipe)}
    return list(unique.values())


def digest(value: Any) -> str:  # noqa: ANN401
    """SHA-256 of settings."""
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a valid setting")

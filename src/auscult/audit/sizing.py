"""Trains the sizes of an audit beside it, each into a run of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from auscult.base.errors import ConfigError, RecipeError
from auscult.base.progress import Progress
from auscult.cohort.design import HALF, Design, steps_like
from auscult.protection.plans import digest
from auscult.recipes.base import Recipe
from auscult.recipes.kinds import identity_of
from auscult.recipes.torch.recipe import TorchRecipe
from auscult.recipes.torch.same_steps import steps_of, with_steps
from auscult.sizes.shares import Size
from auscult.sizes.stored import opened, trained
from auscult.store import RunStore
from auscult.training.dispatch import REPEATED, train
from auscult.training.engines import Engine

if TYPE_CHECKING:
    from auscult.audit.audit import Audit

LOG = logging.getLogger(__name__)
MOST_OFF = 0.1  # of the steps that a size shall take


def fingerprint_of(audit: Audit, design: Design, size: Size | None = None) -> dict[str, str]:
    """What makes a run of an audit's models this run.

    Parameters
    ----------
    audit : Audit
    design : Design
        Of its models, or of those of a size.
    size : Size, optional
        Whose models they are, which do not answer the audit's queries.
    """
    recipe = audit.recipe if size is None else recipe_of(audit, size)
    return {
        "cohort": audit.cohort.fingerprint(),
        "recipe": digest(identity_of(recipe)),
        "models": str(design.models),
        "seed": str(audit.seed),
        **({"queries": "; ".join(audit.queries)} if audit.queries and size is None else {}),
        **({"withhold": f"{audit.withhold:g}"} if audit.withhold else {}),
        **({"white box": "yes"} if audit.white_box and size is None else {}),
        **({"share": f"{design.share:g}"} if design.share != HALF else {}),
        **(steps_like(audit.share_of_training, design.share) if size is None else {}),
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
        fingerprint = fingerprint_of(audit, size.design, size)
        recipe = recipe_of(audit, size)
        with opened(store, size, audit.cohort, recipe, fingerprint) as own:
            membership = size.design.membership()
            own.write_membership(membership)
            with _at(size):
                train(
                    audit.cohort.training_data(share=size.share),
                    recipe,
                    membership,
                    audit.cohort.patient_of_record,
                    own,
                    seed=audit.seed,
                    engine=engine,
                    progress=progress,
                    withheld=audit._withheld(),
                )
            settings = {"kind": recipe.kind, "settings": recipe.settings()}
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


def recipe_of(audit: Audit, size: Size) -> Recipe:
    """The audit's recipe, with other epochs where a size shall take as many steps.

    Parameters
    ----------
    audit : Audit
    size : Size
    """
    recipe = audit.recipe
    if not size.same_steps or size.own or not isinstance(recipe, TorchRecipe):
        return recipe
    wanted = steps_of(recipe, audit.cohort.training_data(share=audit.share_of_training))
    return with_steps(recipe, audit.cohort.training_data(share=size.share), wanted)


def check_steps(audit: Audit, sizes: Sequence[Size]) -> None:
    """Raise a ConfigError where sizes cannot take the same number of steps.

    Parameters
    ----------
    audit : Audit
    sizes : sequence of Size
    """
    if audit.sizes_steps is None:
        return
    where = "audit.sizes_steps"
    if audit.sizes_steps != "same":
        raise ConfigError(f'"{audit.sizes_steps}" is not valid', where=where, expected='"same"')
    if not sizes:
        raise ConfigError("it is about sizes, and there are none", where=where, expected="sizes")
    if not isinstance(audit.recipe, TorchRecipe):
        raise ConfigError(
            "how many steps this recipe takes is its own affair",
            where=where,
            expected='a recipe of kind "torch", whose steps are counted',
            next_step="Leave it out",
        )
    steps = steps_by_share(audit, sizes)
    data = audit.cohort.training_data(share=audit.share_of_training)
    wanted = steps_of(audit.recipe, data)
    for share, found in steps.items():
        if abs(found / wanted - 1) > MOST_OFF:
            raise ConfigError(
                f"at {share:g}, whole epochs come no nearer to {wanted} steps than {found}",
                where=where,
                expected=f"at most {100 * MOST_OFF:.0f}% more or fewer",
                next_step="Use more epochs, or leave it out",
            )


def steps_by_share(audit: Audit, sizes: Sequence[Size]) -> dict[float, int]:
    """Optimizer steps that a model of each size takes; empty where the recipe does not tell.

    Parameters
    ----------
    audit : Audit
    sizes : sequence of Size
    """
    found = {}
    for size in sizes:
        recipe = recipe_of(audit, size)
        if isinstance(recipe, TorchRecipe):
            found[size.share] = steps_of(recipe, audit.cohort.training_data(share=size.share))
    return found


def held_by(audit: Audit) -> str:
    """What is the same at every size: "steps", "epochs", or the recipe's "settings"."""
    if audit.sizes_steps is not None:
        return "steps"
    return "epochs" if "epochs" in audit.recipe.settings() else "settings"

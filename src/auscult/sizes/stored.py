"""Where the models of a size are kept: a run of its own in ``RUN/sizes/share-70/``.

It has blocks, secrets and a fingerprint of its own, and grows with the audit. It is what an audit
with that share would train, byte for byte: members and models' seeds come from the same seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from auscult.cohort import Cohort
from auscult.recipes.base import Recipe
from auscult.sizes.shares import Size
from auscult.store import BlockPlan, RunStore, plan_blocks

FOLDER = "sizes"


def opened(
    store: RunStore, size: Size, cohort: Cohort, recipe: Recipe, fingerprint: Mapping[str, str]
) -> RunStore:
    """The run of a size's models, locked for writing; it grows with the audit.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    size : Size
    cohort : Cohort
    recipe : Recipe
    fingerprint : mapping of str to str
        Of an audit of that share.
    """
    return RunStore.create_or_resume(
        store.path / FOLDER / size.slug,
        fingerprint=fingerprint,
        configuration=None,
        blocks=_blocks(size, cohort, recipe),
        records=cohort.records,
        wave=size.design.wave,
    )


def finished(store: RunStore, size: Size) -> RunStore:
    """The run that holds a size's models, to be read: the audit's own, or that of the size.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    size : Size
    """
    return store if size.own else RunStore.open(store.path / FOLDER / size.slug)


def lacking(store: RunStore, found: Iterable[Size], cohort: Cohort, recipe: Recipe) -> int:
    """How many models of the sizes are still to be trained.

    Parameters
    ----------
    store : RunStore
        The audit's run.
    found : iterable of Size
    cohort : Cohort
    recipe : Recipe
    """
    total = 0
    for size in trained(found):
        path = store.path / FOLDER / size.slug
        there: set[BlockPlan] = set()
        if (path / "manifest.json").exists():
            own = RunStore.open(path)
            there = {block for block in own.blocks if own.has_block(block.block)}
        blocks = _blocks(size, cohort, recipe)
        total += sum(len(block.models) for block in blocks if block not in there)
    return total


def trained(found: Iterable[Size]) -> list[Size]:
    """Sizes whose models are trained beside the audit's own."""
    return [size for size in found if not size.own]


def _blocks(size: Size, cohort: Cohort, recipe: Recipe) -> tuple[BlockPlan, ...]:
    return plan_blocks(size.models, recipe.blocks(cohort.training_data(), size.models))

"""One block of models trained to see what an audit costs and whether training repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auscult.base.progress import Progress
from auscult.recipes.base import Recipe
from auscult.training.cost import TASK_BYTES, Trial
from auscult.training.dispatch import train_one

if TYPE_CHECKING:
    from auscult.audit.audit import Audit


def try_one_block(audit: Audit, recipe: Recipe, progress: Progress) -> Trial:
    """Train one block of models in one worker, and again in another, and measure it.

    Parameters
    ----------
    audit : Audit
    recipe : Recipe
        The audit's own, or that of a variant.
    progress : Progress
    """
    block = tuple(range(recipe.block_models(audit.cohort.training_data(), audit.models)))
    tried = train_one(
        audit._training_data(),
        recipe,
        audit._design().membership(),
        audit.cohort.patient_of_record,
        seed=audit.seed,
        models=block,
        progress=progress,
        withheld=audit._withheld(),
    )
    outputs = tried.outputs
    return Trial(
        models=len(outputs.values),
        seconds=tried.seconds[-1],
        start_seconds=tried.start_seconds,
        worker_bytes=int(outputs.speed.get("peak_bytes", TASK_BYTES)),
        output_bytes=int(outputs.values[0].nbytes) * audit.models,
        facts=dict(outputs.facts),
        notes=dict(outputs.notes),
        repeat=tried.repeat,
        written=tried.written,
    )

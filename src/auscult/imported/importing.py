"""Scores made elsewhere, brought into a run directory: everything right of the store is ours."""

from __future__ import annotations

import os

import numpy as np

from auscult.attacks.places import Places
from auscult.base.notebooks import USUAL
from auscult.base.progress import Progress
from auscult.cohort import Task
from auscult.cohort.cohort import records_per_patient, released_classes
from auscult.imported.scores import Scores
from auscult.recipes.base import BlockOutputs
from auscult.results import Result
from auscult.results.analysis import AnalysisSettings
from auscult.results.roster import Roster
from auscult.results.writing import write_results
from auscult.store import RunStore, default_block_models, missing_blocks, plan_blocks


def import_scores(
    scores: Scores,
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    settings: AnalysisSettings | None = None,
    title: str | None = None,
    progress: Progress = USUAL,
) -> Result:
    """Put scores into a run directory and analyse them.

    Parameters
    ----------
    scores : Scores
    out : path-like
        The run directory, new or of the same scores.
    seed : int
        The null, the folds and the bootstraps derive from it.
    settings : AnalysisSettings, optional
    title : str, optional
    progress : Progress

    Raises
    ------
    AuscultError
        The run directory contains something else, or the scores are not sufficient for the
        analysis.
    """
    import hashlib

    settings = settings or AnalysisSettings()
    digest = hashlib.sha256()
    for part in (scores.values, scores.membership.reveal(), scores.patient_of_record):
        digest.update(repr(part.shape).encode())
        digest.update(np.ascontiguousarray(part).data)
    digest.update(repr(list(scores.groups.columns)).encode())
    digest.update("\0".join(scores.groups.astype(str).to_numpy().ravel()).encode())
    digest.update(b"" if scores.labels is None else scores.labels.tobytes())
    digest.update(b"" if scores.features is None else scores.features.tobytes())
    models = scores.membership.models
    with RunStore.create_or_resume(
        out,
        fingerprint={"scores": digest.hexdigest(), "seed": str(seed)},
        configuration=None,
        blocks=plan_blocks(models, default_block_models(models)),
        records=len(scores.patient_of_record),
    ) as store:
        store.write_membership(scores.membership)
        for block in missing_blocks(store.blocks, store):
            values = scores.values[list(block.models)]
            store.write_block(block, BlockOutputs(values=values, kind=scores.kind))
        return write_results(
            store,
            _roster(scores, title, settings.smallest_cell),
            seed=seed,
            settings=settings,
            progress=progress,
        )


def _roster(scores: Scores, title: str | None, smallest_cell: int) -> Roster:
    tasks: dict[str, Task] = {
        "sigmoid": "binary",
        "softmax": "multiclass",
        "multilabel": "multilabel",
    }
    task = tasks.get(scores.kind)
    labels = scores.labels
    if (
        labels is not None
        and labels.ndim == 1
        and task in (None, "multiclass")
        and labels.max() < 2
    ):
        task = "binary"
    classes = []
    if labels is not None:
        number = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
        names = [str(c) for c in range(number)]
        classes = released_classes(labels, names, scores.patient_of_record, smallest_cell)
    return Roster(
        title=title or scores.source,
        cohort={
            "source": scores.source,
            "records": len(scores.patient_of_record),
            "patients": len(scores.patient_ids),
            "task": task or "unknown",
            "classes": classes,
            "records_per_patient": records_per_patient(scores.patient_of_record, smallest_cell),
            "groups": [str(name) for name in scores.groups.columns],
            "left_out": [],
            "notes": list(scores.notes),
        },
        recipe=None,
        patient_of_record=scores.patient_of_record,
        patient_ids=scores.patient_ids,
        record_rows=np.arange(len(scores.patient_of_record)),
        groups=scores.groups,
        labels=labels,
        task=task,
        classes=tuple(str(one["name"]) for one in classes),
        places=None
        if scores.features is None
        else Places.of_features(scores.features, scores.patient_of_record),
    )

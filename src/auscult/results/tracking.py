"""A finished run in an experiment tracker: released figures as metrics, documents as artifacts."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auscult.base.errors import AuscultError
from auscult.report.summary import Part, read_summary
from auscult.results.result import GROUPS, OFFICER, REPORT, SUMMARY, Result
from auscult.store.seal import require_sealed

DOCUMENTS = (SUMMARY, GROUPS, OFFICER, REPORT)  # nothing else of a run ever leaves it this way
FOLDER = "auscult"
LONGEST_TAG = 500
_UNFIT = re.compile(r"[^\w\-. /]")  # in MLflow's names of metrics


def log_to_mlflow(run: Result | str | os.PathLike[str]) -> dict[str, float]:
    """Log a finished run to MLflow: to the active run, or to a new one where none is active.

    Metrics are the released figures, named ``auscult/...``; tags say the first sentence, the
    verdict and the version; artifacts, under ``auscult``, are the report, ``summary.json``,
    ``groups.csv`` and the officer's page. Nothing under ``secret/`` is read, and no output of a
    model. Where the tracking server stands, and who may read it, is MLflow's configuration: how
    exposed a cohort is should not be public by accident.

    Parameters
    ----------
    run : Result or path-like
        A finished run, or its directory.

    Returns
    -------
    dict of str to float
        The metrics, as they were logged.

    Raises
    ------
    AuscultError
        MLflow is not installed.
    StoreError
        The run is not finished, or was changed after it was sealed; nothing is logged.

    Examples
    --------
    >>> with mlflow.start_run():  # doctest: +SKIP
    ...     auscult.log_to_mlflow("runs/readmission")
    """
    mlflow = _mlflow()
    path = run.path if isinstance(run, Result) else Path(run)
    result = Result(path)  # as the files are now: what is logged is what they say
    require_sealed(path, values=False)
    summary = read_summary(result.summary)
    metrics = dict(figures_of(summary))
    tags = {
        "auscult.version": summary.text("auscult"),
        "auscult.finding": result.headline[:LONGEST_TAG],
        "auscult.verdict": summary.part("decision").text("verdict") or "not judged",
    }
    if mlflow.active_run() is None:
        with mlflow.start_run():
            _log(mlflow, path, metrics, tags)
    else:
        _log(mlflow, path, metrics, tags)
    return metrics


def _log(mlflow: Any, path: Path, metrics: dict[str, float], tags: dict[str, str]) -> None:  # noqa: ANN401
    mlflow.log_metrics(metrics)
    mlflow.set_tags(tags)
    for document in DOCUMENTS:
        mlflow.log_artifact(str(path / document), FOLDER)


def figures_of(summary: Part) -> Iterator[tuple[str, float]]:
    """Figures with their bounds; what was not estimable, or is withheld, is not logged."""
    patients, models = summary.part("patients"), summary.part("models")
    yield from _numbers("patients", patients, {"assessed": "estimable"})
    yield from _numbers("models", models, {"count": "count"})
    for at, row in patients.items("exposed"):
        ends = {"estimate": "estimate", "low": "low", "high": "high", "by_chance": "null"}
        yield from _numbers(f"exposed_above_{at}", row, ends)
    mean = {"estimate": "mean", "low": "mean_low", "high": "mean_high"}
    yield from _numbers("mean_auc", patients.part("auc"), mean)
    for at, row in patients.part("one_model").items("at_fpr"):
        ends = {"estimate": "estimate", "low": "low", "high": "high"}
        yield from _numbers(f"members_found_at_fpr_{at}", row.part("members"), ends)
    utility = models.part("utility")
    name = f"utility_{utility.text('metric') or 'metric'}"
    yield from _numbers(name, utility, {"estimate": "mean", "low": "low", "high": "high"})
    for attack, part in summary.items("aggregate"):
        yield from _numbers(f"aggregate_auc_{attack}", part, {"estimate": "auc"})


def _numbers(name: str, part: Part, keys: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Numbers of a part that are told, each under a name that MLflow takes."""
    content = part.content()
    for word, key in keys.items():
        value = content.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield _UNFIT.sub("_", f"auscult/{name}/{word}"), float(value)


def _mlflow() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("mlflow")
    except ImportError:
        raise AuscultError(
            "logging to MLflow needs MLflow",
            where="log_to_mlflow",
            next_step='Install it: pip install "auscult[mlflow]" -c constraints.txt',
        ) from None

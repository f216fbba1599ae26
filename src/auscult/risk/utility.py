"""How well the models do, each on its own OUT patients, and whether they have learned anything.

No separate test set is needed: patients are OUT of every model, by default half of them (METHOD 1).
A model that has learned nothing leaks nothing and proves nothing, so the summary says which of the
two it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.attacks.roc import exact_auc
from auscult.base.intervals import NORMAL_95
from auscult.cohort import Task
from auscult.cohort.cohort import SMALLEST_CELL
from auscult.cohort.design import Membership
from auscult.recipes.metrics import Metric
from auscult.risk.pooling import pool_small_cells
from auscult.store import Outputs

FEWEST_OF_A_CLASS = 5

AUROC = Metric(name="auroc", what="area under the ROC curve", chance=0.5, low=0.0, high=1.0)
MACRO_AUROC = Metric(
    name="macro_auroc",
    what="area under the ROC curve, one class (or label) against the rest, mean over classes",
    chance=0.5,
    low=0.0,
    high=1.0,
)
NO_METRIC = (
    "the outputs are ready signals, not predictions, and no metric was declared (recipe.utility)"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Interval:
    """A mean over so many models with its interval."""

    mean: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """For the summary."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True, kw_only=True, eq=False)
class UtilityPerModel:
    """Utility of each model; NaN where a class has too few records.

    Attributes
    ----------
    outside, members : float64 array, shape (models,)
        On the model's own OUT patients, and on its members.
    by_group : dict of (attribute, group) to float64 array, shape (models,)
        On the model's own OUT patients of each group shown.
    metric : Metric
    """

    outside: NDArray[np.float64]
    members: NDArray[np.float64]
    by_group: dict[tuple[str, str], NDArray[np.float64]]
    metric: Metric


def model_utility(
    outputs: Outputs,
    labels: NDArray[Any],
    task: Task,
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    groups: pd.DataFrame | None = None,
    *,
    smallest_cell: int = SMALLEST_CELL,
    queries: Sequence[int] | None = None,
    withheld: NDArray[np.bool_] | None = None,
    metric: Metric | None = None,
) -> tuple[dict[str, Any], dict[str, dict[str, dict[str, Any]]]]:
    """Utility of all models on their OUT patients.

    Parameters
    ----------
    outputs : Outputs
    labels : array, shape (records,) or (records, labels)
    task : str
        As :attr:`auscult.Cohort.task`.
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    groups : DataFrame, shape (patients, attributes), optional
    smallest_cell : int
        Groups with fewer patients are pooled as in the table of risks.
    queries : sequence of int, optional
        Which queries to average; all when absent.
    withheld : bool array, shape (records,), optional
        Records that no model trained on: no members' records.
    metric : Metric, optional
        Of ready signals: what the columns after the signal are measured by.

    Returns
    -------
    models : dict
        The "models" object of the summary.
    by_group : dict
        Utility per attribute and group.
    """
    inside = membership.reveal().sum(axis=0)
    models: dict[str, Any] = {
        "count": membership.models,
        "in_per_patient": {"min": int(inside.min()), "max": int(inside.max())},
        "trained_on": trained_on(membership),
        "utility": None,
    }
    if outputs.kind == "signal" and metric is None:
        models["learned"] = {"verdict": None, "reason": f"not estimable: {NO_METRIC}"}
        return models, {}
    found = utility_per_model(
        outputs,
        labels,
        membership,
        patient_of_record,
        groups,
        smallest_cell=smallest_cell,
        queries=queries,
        withheld=withheld,
        metric=metric,
    )
    metric = metric or (AUROC if task == "binary" else MACRO_AUROC)
    mine = over_models(found.outside, metric)
    if mine is None:
        reason = f"not estimable: a class has fewer than {FEWEST_OF_A_CLASS} records"
        if outputs.kind == "signal":
            reason = f"not estimable: {metric.what} cannot be computed from so few records"
        models["learned"] = {"verdict": None, "reason": reason}
        return models, {}
    theirs = over_models(found.members, metric)
    models["utility"] = mine.as_dict() | {
        "metric": metric.name,
        "chance": metric.chance,
        "on": "each model's own OUT patients",
        "method": metric.what + "; mean over models, 95% interval over models",
        "members": None if theirs is None else theirs.as_dict(),
    }
    models["learned"] = _verdict(mine, metric)
    by_group: dict[str, dict[str, dict[str, Any]]] = {}
    for (name, group), values in found.by_group.items():
        here = over_models(values, metric)
        if here is not None:
            by_group.setdefault(name, {})[group] = {"metric": metric.name} | here.as_dict()
    return models, by_group


def trained_on(membership: Membership) -> dict[str, int]:
    """How many of the cohort's patients a model trains on, on average."""
    of_model = membership.reveal().mean(axis=1, dtype=np.float64)
    patients = membership.patients
    return {"patients": round(float(of_model.mean()) * patients), "of": patients}


def utility_per_model(
    outputs: Outputs,
    labels: NDArray[Any],
    membership: Membership,
    patient_of_record: NDArray[np.int64],
    groups: pd.DataFrame | None = None,
    *,
    smallest_cell: int = SMALLEST_CELL,
    queries: Sequence[int] | None = None,
    withheld: NDArray[np.bool_] | None = None,
    metric: Metric | None = None,
) -> UtilityPerModel:
    """Utility of each model on its OUT and on its IN patients; see :func:`model_utility`.

    Parameters
    ----------
    outputs : Outputs
    labels : int64 array, shape (records,) or (records, columns)
    membership : Membership
    patient_of_record : int64 array, shape (records,)
    groups : DataFrame, shape (patients, attributes), optional
    smallest_cell : int
        Groups of fewer patients are left out.
    queries : sequence of int, optional
        Queries whose answers are averaged.
    withheld : bool array, shape (records,), optional
        Records that no model trains on.
    metric : Metric, optional
        Of models that give one number per record.
    """
    pools = _pools(groups, smallest_cell)
    outside: list[float] = []
    members: list[float] = []
    per_group: dict[tuple[str, str], list[float]] = {}

    def value(scores: NDArray[np.floating], rows: NDArray[np.bool_]) -> float:
        if metric is None:
            return _auroc(scores[rows], labels[rows], outputs.kind)
        return _measured(scores[rows], labels[rows], metric)

    for model in range(outputs.models):
        answers = outputs.model(model)
        scores = (answers if queries is None else answers[list(queries)]).mean(axis=0)
        is_member = membership.reveal()[model][patient_of_record]
        trained = is_member if withheld is None else is_member & ~withheld
        outside.append(value(scores, ~is_member))
        members.append(value(scores, trained))
        for name, group, patients in pools:
            rows = ~is_member & patients[patient_of_record]
            per_group.setdefault((name, group), []).append(value(scores, rows))
    return UtilityPerModel(
        metric=metric or AUROC,
        outside=np.array(outside),
        members=np.array(members),
        by_group={key: np.array(values) for key, values in per_group.items()},
    )


def _pools(
    groups: pd.DataFrame | None, smallest_cell: int
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Attribute, group and which patients are in it, pooled as in the table of risks."""
    found: list[tuple[str, str, NDArray[np.bool_]]] = []
    if groups is None:
        return found
    for name in groups.columns:
        labels, shown, _ = pool_small_cells(groups[name].astype(str).to_numpy(), smallest_cell)
        found += [(str(name), group, np.asarray(labels == group)) for group in shown]
    return found


def _verdict(utility: Interval, metric: Metric) -> dict[str, Any]:
    ranks = metric.name in ("auroc", "macro_auroc")
    name = "AUROC" if ranks else metric.name
    said = f"{name} {utility.mean:.3f}, 95% interval {utility.low:.3f} to {utility.high:.3f}"
    if metric.chance is None:
        return {
            "verdict": None,
            "reason": f"not estimable: it is not known what chance reaches in {name} "
            "(recipe.chance says it)",
        }
    if utility.low > metric.chance:
        does = "ranks" if ranks else "does"
        return {
            "verdict": True,
            "reason": f"on patients it never saw a model {does} better than chance ({said})",
        }
    return {
        "verdict": False,
        "reason": f"on patients it never saw a model does no better than chance ({said}): it may "
        "have memorised its members, but it has learned nothing that generalises",
    }


def _measured(values: NDArray[np.floating], labels: NDArray[Any], metric: Metric) -> float:
    """A metric of ready signals, whose columns after the first are what it reads."""
    if not len(values):
        return float("nan")
    read = np.asarray(values[:, 1:], dtype=np.float64)
    if metric.measure is None:
        return float(read.mean())
    return float(metric.measure(labels, read[:, 0] if read.shape[1] == 1 else read))


def over_models(values: NDArray[np.float64], metric: Metric) -> Interval | None:
    """Mean over models with a normal 95% interval, or None when no model is estimable.

    Parameters
    ----------
    values : float64 array, shape (models,)
        NaN where a model has none.
    metric : Metric
        Whose range bounds the interval.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    error = float(finite.std(ddof=1) / np.sqrt(finite.size)) if finite.size > 1 else 0.0
    mean = float(finite.mean())
    return Interval(
        mean=mean,
        low=max(mean - NORMAL_95 * error, metric.low),
        high=min(mean + NORMAL_95 * error, metric.high),
        n=int(finite.size),
    )


def _auroc(scores: NDArray[np.floating], labels: NDArray[np.int64], kind: str) -> float:
    """AUROC, or its mean over classes that have at least five records on both sides; else NaN."""
    values = [
        _two_class(column, truth)
        for column, truth in _one_against_rest(scores.astype(np.float64), labels, kind)
        if min(int(truth.sum()), int((~truth).sum())) >= FEWEST_OF_A_CLASS
    ]
    return float(np.mean(values)) if values else float("nan")


def _one_against_rest(
    scores: NDArray[np.float64], labels: NDArray[np.int64], kind: str
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    if kind == "sigmoid":
        yield scores[:, 0], labels == 1
    elif kind == "multilabel":
        for j in range(scores.shape[1]):
            yield scores[:, j], labels[:, j] == 1
    elif scores.shape[1] == 2:
        yield scores[:, 1] - scores[:, 0], labels == 1
    else:
        for c in range(scores.shape[1]):
            others = np.delete(scores, c, axis=1)
            peak = others.max(axis=1)
            rest = np.log(np.exp(others - peak[:, None]).sum(axis=1)) + peak
            yield scores[:, c] - rest, labels == c


def _two_class(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    return exact_auc(scores[truth], scores[~truth])

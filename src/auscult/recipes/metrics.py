"""Metrics of tasks that are no classes: how well a model does, in the task's own number.

Higher is better in all of them, as in scikit-learn's scorers. A metric reads labels and predictions
of many records, or it is the mean of a number that the recipe gives for every record, such as an
overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, RecipeError, one_of

Measure = Callable[[NDArray[Any], NDArray[np.float64]], float]
FEWEST = 5  # records, or of each of two classes, on which a metric is given
MOST_PAIRED = 5_000
PAIRED_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """How utility is measured.

    Attributes
    ----------
    name : str
        In the summary.
    what : str
        In words.
    tasks : tuple of str
        Tasks that it goes with; all when empty.
    measure : callable, optional
        ``measure(labels, predictions) -> float``. Without it the metric is the mean over records
        of the number that the recipe calls by its name.
    chance : float, optional
        What a model that has learned nothing reaches; None where that is not known.
    low, high : float
        What it cannot be below and above.
    comparable : bool
        Whether a hundredth of it means the same in every task, as it does in an AUROC.
    """

    name: str
    what: str
    tasks: tuple[str, ...] = ()
    measure: Measure | None = field(default=None, repr=False)
    chance: float | None = None
    low: float = -np.inf
    high: float = np.inf
    comparable: bool = True

    @property
    def column(self) -> str:
        """What a recipe must return beside the loss: "prediction", or the metric's own name."""
        return self.name if self.measure is None else "prediction"

    def facts(self) -> dict[str, Any]:
        """For the run's facts: what is needed to measure again, but for a function."""
        own = METRICS.get(self.name)
        function = {} if own is not None and own.measure is self.measure else {"function": True}
        return {"name": self.name, "chance": self.chance, **function}


def negative_mae(labels: NDArray[Any], prediction: NDArray[np.float64]) -> float:
    """Mean absolute error over records and numbers, with a minus: higher is better."""
    return -float(np.abs(_alike(labels, prediction) - labels).mean())


def r2(labels: NDArray[Any], prediction: NDArray[np.float64]) -> float:
    """Share of the variance that is explained; mean over numbers where there are several."""
    if len(labels) < FEWEST:
        return float("nan")
    error = ((_alike(labels, prediction) - labels) ** 2).sum(axis=0)
    spread = ((labels - labels.mean(axis=0)) ** 2).sum(axis=0)
    return float(np.mean(1 - error / spread)) if np.all(spread > 0) else float("nan")


def concordance(labels: NDArray[Any], risk: NDArray[np.float64]) -> float:
    """Harrell's C: of two patients, the one with the higher risk has the event first.

    Pairs count where the earlier time is an event; who is seen without the event at that very time
    outlived it; equal risks count half (Harrell et al. 1982). Beyond 5,000 records, an even sample.
    """
    step = max(1, -(-len(labels) // MOST_PAIRED))
    time, event = labels["time"][::step], labels["event"][::step]
    score = np.asarray(risk, dtype=np.float64).reshape(len(labels), -1)
    if score.shape[1] != 1:
        raise RecipeError(
            f"predictions of shape {np.shape(risk)} for a time and an event",
            where="recipe.utility",
            expected="one risk for each record, higher where the event comes sooner",
        )
    score = score[::step, 0]
    right, pairs = 0.0, 0
    happened = np.flatnonzero(event)
    for start in range(0, happened.size, PAIRED_AT_ONCE):
        rows = happened[start : start + PAIRED_AT_ONCE, None]
        outlived = (time > time[rows]) | ((time == time[rows]) & ~event)
        pairs += int(outlived.sum())
        right += float((outlived & (score < score[rows])).sum())
        right += float((outlived & (score == score[rows])).sum()) / 2
    return right / pairs if pairs else float("nan")


def auroc(labels: NDArray[Any], prediction: NDArray[np.float64]) -> float:
    """Area under the ROC curve of a binary label, mean over labels where there are several."""
    y = np.asarray(labels).reshape(len(labels), -1)
    p = np.asarray(prediction, dtype=np.float64).reshape(len(labels), -1)
    if p.shape != y.shape:
        raise RecipeError(
            f"predictions of shape {np.shape(prediction)} for labels of shape {np.shape(labels)}",
            where="recipe.utility",
            expected="one prediction for each label",
        )
    found = []
    for truth, score in zip((y == 1).T, p.T, strict=True):
        inside, outside = int(truth.sum()), int((~truth).sum())
        if min(inside, outside) < FEWEST:
            continue
        _, place, count = np.unique(score, return_inverse=True, return_counts=True)
        mean_rank = np.cumsum(count) - (count - 1) / 2
        ranks = float(mean_rank[place][truth].sum())
        found.append((ranks - inside * (inside + 1) / 2) / (inside * outside))
    return float(np.mean(found)) if found else float("nan")


def _alike(labels: NDArray[Any], prediction: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.asarray(prediction, dtype=np.float64)
    if p.ndim == 2 and p.shape[1] == 1 and labels.ndim == 1:
        p = p[:, 0]
    if p.shape != labels.shape:
        raise RecipeError(
            f"predictions of shape {np.shape(prediction)} for labels of shape {labels.shape}",
            where="recipe.utility",
            expected="one prediction for each number",
        )
    return p


METRICS = {
    one.name: one
    for one in (
        Metric(
            name="negative_mae", what="negative mean absolute error, so that higher is better",
            tasks=("number",), measure=negative_mae, high=0.0, comparable=False,
        ),
        Metric(
            name="r2", what="explained share of the outcome's variance", tasks=("number",),
            measure=r2, chance=0.0, high=1.0,
        ),
        Metric(
            name="concordance", what="Harrell's concordance of risks with times",
            tasks=("time and event",), measure=concordance, chance=0.5, low=0.0, high=1.0,
        ),
        Metric(
            name="auroc", what="area under the ROC curve", tasks=("binary", "multilabel"),
            measure=auroc, chance=0.5, low=0.0, high=1.0,
        ),
        Metric(name="dice", what="overlap (Dice), mean over records", low=0.0, high=1.0),
        Metric(name="accuracy", what="share of records predicted correctly", low=0.0, high=1.0),
    )
}  # fmt: skip


SHORT = {"mae": "negative_mae"}


def on(metric: Metric | None, labels: NDArray[Any] | None) -> Metric | None:
    """The metric with what chance reaches on these labels, where that follows from them."""
    if (
        metric is None
        or metric.chance is not None
        or metric.name != "negative_mae"
        or labels is None
    ):
        return metric
    # Who knows nothing but the outcome's distribution says its median.
    return _with_chance(metric, -float(np.abs(labels - np.median(labels, axis=0)).mean()))


def metric_of(
    said: str | Callable[..., float], *, chance: float | None = None, where: str = "recipe.utility"
) -> Metric:
    """The metric of a name, or of a function of the user's: higher is better.

    Parameters
    ----------
    said : str or callable
        A name, or ``utility(labels, predictions) -> float``.
    chance : float, optional
        What a model that has learned nothing reaches.
    where : str
        Key of the configuration, for messages.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    if isinstance(said, str):
        said = SHORT.get(said, said)
        if said not in METRICS:
            raise ConfigError(
                f'there is no metric "{said}"',
                where=where,
                expected=f'{one_of(said, [*SHORT, *METRICS])}; or "module:function"',
            )
        found = METRICS[said]
        if chance is None:
            return found
        return _with_chance(found, chance)
    name = getattr(said, "__name__", type(said).__name__)
    return Metric(
        name=name,
        what=f"{name}, a function of the developer's",
        measure=said,
        chance=chance,
        comparable=False,
    )


def metric_of_facts(
    facts: Mapping[str, Any], own: Callable[..., float] | None = None
) -> Metric | None:
    """The metric that a run's outputs were made for; None where there is none, or no function."""
    said = facts.get("metric")
    if not isinstance(said, Mapping):
        return None
    if own is not None:
        return metric_of(own, chance=said["chance"])
    if said["name"] not in METRICS or said.get("function"):
        return None
    return metric_of(str(said["name"]), chance=said["chance"])


def _with_chance(metric: Metric, chance: float) -> Metric:
    return Metric(**{**vars(metric), "chance": float(chance)})
